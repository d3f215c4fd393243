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

/** The server's key is kept until the tab is closed. */
export const key = {
  get() {
    try {
      return sessionStorage.getItem(PREFIX + "key") ?? "";
    } catch {
      return "";
    }
  },
  set(value) {
    try {
      sessionStorage.setItem(PREFIX + "key", value);
    } catch {
      // asked again after the next refusal
    }
  },
};
