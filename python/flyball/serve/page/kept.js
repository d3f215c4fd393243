/** What the browser keeps. A browser that keeps nothing (private windows, full storage) is no error. */

const PREFIX = "flyball.";

export function read(name, otherwise = null) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

/** True if it was kept. */
export function write(name, value) {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

export function remove(name) {
  try {
    localStorage.removeItem(PREFIX + name);
  } catch {
    // nothing was kept
  }
}

/** Names that begin so, and how many characters each keeps. */
export function sizes(beginning) {
  try {
    const start = PREFIX + beginning;
    return new Map(
      Object.keys(localStorage)
        .filter((key) => key.startsWith(start))
        .map((key) => [key.slice(PREFIX.length), localStorage.getItem(key).length]),
    );
  } catch {
    return new Map();
  }
}

/** Kept until the tab is closed. */
function ofTab(name, otherwise) {
  return {
    get() {
      try {
        return JSON.parse(sessionStorage.getItem(PREFIX + name)) ?? otherwise;
      } catch {
        return otherwise;
      }
    },
    set(value) {
      try {
        sessionStorage.setItem(PREFIX + name, JSON.stringify(value));
      } catch {
        // asked again after the next refusal
      }
    },
  };
}

/** The key that is used, and those of all projects that this tab has, by their names. */
export const key = ofTab("key", "");
export const keys = ofTab("keys", {});

let project = Object.entries(keys.get()).find(([, each]) => each === key.get())?.[0] ?? "default";

/** From now on what belongs to a project is this one's. */
export function inProject(name) {
  project = name;
}

/** How the names begin of what this project keeps. */
export const beginning = (name) => (project === "default" ? `${name}.` : `${name}@${encodeURIComponent(project)}.`);
