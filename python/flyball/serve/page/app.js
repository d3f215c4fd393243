/** Starts the page: language, appearance, views, panels, models, key. */

import * as chat from "./chat.js";
import { announce, byId } from "./dom.js";
import * as kept from "./kept.js";
import * as labels from "./labels.js";
import { onLanguage, preferred, setLanguage, word } from "./language.js";
import * as monitor from "./monitor.js";
import * as options from "./options.js";
import * as projects from "./projects.js";
import { explain, Failure, json } from "./server.js";

const PANELS = ["conversations", "options"];
const VIEWS = ["chat", "monitor", "labels"];
const isWide = matchMedia("(min-width: 70rem)");

const shownView = () => VIEWS.find((name) => location.hash === `#${name}`) ?? "chat";

function route() {
  const shown = shownView();
  for (const name of VIEWS) {
    byId(name).hidden = name !== shown;
    if (name === shown) byId(`to-${name}`).setAttribute("aria-current", "page");
    else byId(`to-${name}`).removeAttribute("aria-current");
  }
  title();
  if (!isWide.matches) PANELS.forEach((name) => openPanel(name, false));
}

function title() {
  const shown = shownView();
  document.title = shown === "chat" ? "Flyball" : `${word(shown)} · Flyball`;
}

function openPanel(name, open = byId(name).hidden) {
  byId(name).hidden = !open;
  byId(`open-${name}`).setAttribute("aria-expanded", String(open));
  if (open && !isWide.matches) openPanel(PANELS.find((other) => other !== name), false);
}

function startPanels() {
  for (const name of PANELS) {
    byId(`open-${name}`).addEventListener("click", () => {
      openPanel(name);
      if (!byId(name).hidden && !isWide.matches) byId(name).querySelector("button, select, input")?.focus();
    });
  }
  openPanel("conversations", isWide.matches);
  byId("conversation-list").addEventListener("click", closeOnPhone);
  byId("new-conversation").addEventListener("click", closeOnPhone);
}

function closeOnPhone(event) {
  if (isWide.matches || !event.target.closest(".entry, #new-conversation")) return;
  openPanel("conversations", false);
  byId("question").focus();
}

function escape(event) {
  if (event.key !== "Escape" || event.isComposing) return;
  if (chat.isRunning()) {
    chat.stop();
    return;
  }
  const open = PANELS.find((name) => !byId(name).hidden && byId(name).contains(document.activeElement));
  if (!open) return;
  openPanel(open, false);
  byId(`open-${open}`).focus();
}

function needKey() {
  byId("key-form").hidden = false;
  byId("key").focus();
}

function startKey() {
  byId("key-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    kept.key.set(byId("key").value.trim());
    byId("key").value = "";
    if (!(await loadModels())) return;
    byId("key-form").hidden = true;
    byId("question").focus();
    await projects.look();
    chat.retryRefused();
  });
}

/** Of another project, nothing of the one before stays in sight. */
async function showProject(isOther) {
  if (isOther) {
    chat.anew();
    if (!(await loadModels())) return;
  }
  monitor.wake();
  labels.wake();
}

/** False if the server wants another key. */
async function loadModels() {
  try {
    options.setModels((await json("v1/models")).data ?? []);
  } catch (error) {
    const details = error instanceof Failure ? error.details : { kind: "page" };
    announce(explain(details));
    byId("composer-model").textContent = explain(details);
    if (details.kind !== "key") return true;
    needKey();
    return false;
  }
  return true;
}

function showModel() {
  byId("composer-model").textContent = options.model() ?? "";
}

setLanguage(preferred());
options.start(showModel);
startPanels();
startKey();
chat.start({
  needKey,
  openOptions(field) {
    openPanel("options", true);
    options.focus(field);
  },
});
route();
addEventListener("hashchange", route);
onLanguage(title);
document.addEventListener("keydown", escape);
byId("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address says which view is open
  byId("main").focus();
});
monitor.start({ needKey });
labels.start({ needKey });
projects.start({ needKey, changed: showProject });
loadModels().then((isIn) => isIn && projects.look());
if (shownView() === "chat") byId("question").focus();
