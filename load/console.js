// The flows of console.toml for k6: a page load, chats with a login, and batches that are polled.
//     k6 run -e URL=http://127.0.0.1:8080 [-e KEY=...] load/console.js
// k6 does not keep due times: a chat that comes while all users wait is dropped, which dropped_iterations limits.
// It reads a streamed answer as a whole, so that first tokens are measured by `flyball load run` alone.
import { check, sleep } from "k6";
import http from "k6/http";
import { Trend } from "k6/metrics";

const url = (__ENV.URL || "http://127.0.0.1:8080").replace(/\/+$/, "");
const seconds = Number(__ENV.SECONDS || 20);
const headers = __ENV.KEY ? { authorization: `Bearer ${__ENV.KEY}` } : {};
const json = { ...headers, "content-type": "application/json" };
const jobTime = new Trend("job_duration", true);

export const options = {
  scenarios: {
    page: { executor: "constant-vus", exec: "page", vus: 1, duration: `${seconds}s` },
    chat: {
      executor: "ramping-arrival-rate",
      exec: "chat",
      startRate: 2,
      preAllocatedVUs: 20,
      maxVUs: 50,
      stages: [
        { target: 6, duration: `${seconds / 2}s` },
        { target: 6, duration: `${seconds / 2}s` },
      ],
    },
    jobs: { executor: "per-vu-iterations", exec: "jobs", vus: 1, iterations: 3, maxDuration: `${4 * seconds}s` },
  },
  thresholds: {
    "http_req_duration{scenario:page}": ["p(95)<1500"],
    "http_req_duration{scenario:chat}": ["p(95)<5000"],
    "http_req_failed{scenario:page}": ["rate<0.02"],
    "http_req_failed{scenario:chat}": ["rate<0.02"],
    "job_duration": ["med<10000"],
    "checks": ["rate>0.95"],
    "dropped_iterations": ["count<1"],
  },
  summaryTrendStats: ["avg", "min", "med", "max", "p(90)", "p(95)", "p(99)"],
};

const imports = /^\s*(?:import|export)\b[^"';]*["']\.\/([^"']+)["']/gm;
const tags = /<(?:link|script|img)\b[^>]*?\b(?:href|src)="([^":]+)"/g;

function named(text, pattern, folder) {
  return [...text.matchAll(pattern)].map((found) => folder + found[1]);
}

export function page() {
  const front = http.get(`${url}/`, { headers: { accept: "text/html" } });
  check(front, { "page loads": (got) => got.status === 200 });
  const seen = new Set();
  let wave = named(front.body, tags, "/");
  while ((wave = [...new Set(wave)].filter((path) => !seen.has(path))).length > 0) {
    wave.forEach((path) => seen.add(path));
    const files = http.batch(wave.map((path) => ["GET", url + path]));
    files.forEach((file) => check(file, { "page's files load": (got) => got.status === 200 }));
    wave = files.flatMap((file, i) => (wave[i].endsWith(".js") ? named(file.body, imports, "/page/") : []));
  }
  sleep(0.2);
}

export function chat() {
  const models = http.get(`${url}/v1/models`, { headers });
  if (!check(models, { "login is accepted": (got) => got.status === 200 })) return;
  const question = {
    messages: [{ role: "user", content: "Tell me a story." }],
    seed: __VU * 1000 + __ITER,
    max_tokens: 24,
    stream: true,
  };
  const answer = http.post(`${url}/v1/chat/completions`, JSON.stringify(question), { headers: json });
  check(answer, {
    "chat's status is 200": (got) => got.status === 200,
    "answer is whole": (got) => got.body.trimEnd().endsWith("data: [DONE]"),
  });
}

export function jobs() {
  const start = Date.now();
  const lines = [0, 1, 2].map((i) =>
    JSON.stringify({
      custom_id: String(i),
      method: "POST",
      url: "/v1/chat/completions",
      body: { messages: [{ role: "user", content: "What is 2 + 3?" }], seed: __ITER * 10 + i, max_tokens: 16 },
    }),
  );
  const form = { purpose: "batch", file: http.file(lines.join("\n") + "\n", "load.jsonl", "application/jsonl") };
  const file = http.post(`${url}/v1/files`, form, { headers });
  if (!check(file, { "file is uploaded": (got) => got.status === 200 })) return;
  const order = { input_file_id: file.json("id"), endpoint: "/v1/chat/completions", completion_window: "24h" };
  let batch = http.post(`${url}/v1/batches`, JSON.stringify(order), { headers: json });
  if (!check(batch, { "batch is created": (got) => got.status === 200 })) return;
  const running = ["validating", "in_progress", "finalizing", "cancelling"];
  for (let i = 0; i < 240 && running.includes(batch.json("status")); i++) {
    sleep(0.25);
    batch = http.get(`${url}/v1/batches/${batch.json("id")}`, { headers });
  }
  check(batch, {
    "batch is complete": (got) => got.json("status") === "completed" && got.json("request_counts.completed") === 3,
  });
  jobTime.add(Date.now() - start);
  for (const name of ["input_file_id", "output_file_id"]) {
    http.del(`${url}/v1/files/${batch.json(name)}`, null, { headers });
  }
}
