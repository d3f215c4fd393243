/** Two texts word by word: what only the first has, only the second, or both. */

const MOST = 2_000; // words; longer texts are shown whole, as comparing them takes the product of their lengths

/** [{kind: "same" | "less" | "more", text}], in order; white space belongs to the word before it. */
export function words(before, after) {
  const a = split(before);
  const b = split(after);
  if (a.length > MOST || b.length > MOST) return [{ kind: "less", text: before }, { kind: "more", text: after }];
  const common = lengths(a, b);
  const parts = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i].trim() === b[j].trim()) {
      push(parts, "same", b[j]);
      i += 1;
      j += 1;
    } else if (j >= b.length || (i < a.length && common[i + 1][j] >= common[i][j + 1])) push(parts, "less", a[i++]);
    else push(parts, "more", b[j++]);
  }
  return parts;
}

const split = (text) => text.match(/\S+\s*|\s+/g) ?? [];

/** common[i][j]: how many words a from i and b from j have in common, in order. */
function lengths(a, b) {
  const common = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      common[i][j] = a[i].trim() === b[j].trim() ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
    }
  }
  return common;
}

function push(parts, kind, text) {
  const last = parts.at(-1);
  if (last?.kind === kind) last.text += text;
  else parts.push({ kind, text });
}
