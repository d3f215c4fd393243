/** The controls and pictures in sight that a screen reader has no name for. */
() =>
  [...document.querySelectorAll("button, a, input, select, textarea, [role=img], summary, img, meter")]
    .filter((node) => node.checkVisibility())
    .filter((node) => node.matches("select, textarea, input") || !node.innerText?.trim())
    .filter((node) => !node.ariaLabel && !node.labels?.length && node.getAttribute("alt") === null)
    .map((node) => node.outerHTML)
