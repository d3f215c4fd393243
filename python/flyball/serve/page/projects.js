/** The projects whose keys this tab has: which one is shown, and making another one. */

import { announce, byId, element } from "./dom.js";
import * as kept from "./kept.js";
import { onLanguage, word } from "./language.js";
import { explain, Failure, json } from "./server.js";

const OTHER = ""; // values of the list that are no project's
const NEW = "+";

let me = null; // whose the key is; null: nobody's, as the server wants none
let hooks = { needKey() {}, changed() {} };

/** hooks: needKey() asks for a key, changed(isOther) is told after a look, and whether another project is shown now. */
export function start(given) {
  hooks = given;
  byId("project").addEventListener("change", chosen);
  byId("project-form").addEventListener("submit", create);
  byId("project-cancel").addEventListener("click", () => byId("project-dialog").close());
  byId("project-dialog").addEventListener("close", show);
  byId("project-done").addEventListener("click", () => byId("project-dialog").close());
  onLanguage(show);
}

/** After a key was taken, or none was wanted: asks whose it is. */
export async function look() {
  if (!kept.key.get()) return;
  const before = me?.project;
  try {
    me = await json("v1/whoami");
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    announce(explain(error.details));
    return;
  }
  kept.keys.set({ ...kept.keys.get(), [me.project]: kept.key.get() });
  kept.inProject(me.project);
  show();
  hooks.changed(before !== undefined && before !== me.project);
}

const mayCreate = () => me?.project === "default" && me.scopes.includes("admin");

function show() {
  const list = byId("project");
  list.hidden = me === null;
  if (me === null) return;
  const names = Object.keys(kept.keys.get()).sort();
  list.replaceChildren(
    ...names.map((name) => element("option", { value: `=${name}` }, name)),
    element("option", { value: OTHER }, word("project_other")),
    ...(mayCreate() ? [element("option", { value: NEW }, word("project_new"))] : []),
  );
  list.value = `=${me.project}`;
}

function chosen() {
  const value = byId("project").value;
  if (value === NEW) {
    open();
  } else if (value === OTHER) {
    show();
    hooks.needKey();
  } else {
    kept.key.set(kept.keys.get()[value.slice(1)]);
    look();
  }
}

function open() {
  byId("project-name").value = "";
  byId("project-problem").hidden = true;
  byId("project-form").hidden = false;
  byId("project-made").hidden = true;
  byId("project-dialog").showModal();
}

async function create(event) {
  event.preventDefault();
  const name = byId("project-name").value.trim();
  const submit = byId("project-create");
  submit.disabled = true;
  try {
    await json("admin/projects", { body: { name } });
    const token = await json("admin/tokens", { body: { project: name, name: "page", role: "owner" } });
    kept.keys.set({ ...kept.keys.get(), [name]: token.secret });
    kept.key.set(token.secret);
    byId("project-secret").value = token.secret;
    byId("project-form").hidden = true;
    byId("project-made").hidden = false;
    byId("project-secret").select();
    await look();
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    byId("project-problem").textContent = `${explain(error.details)} ${error.details.said ?? ""}`;
    byId("project-problem").hidden = false;
  } finally {
    submit.disabled = false;
  }
}
