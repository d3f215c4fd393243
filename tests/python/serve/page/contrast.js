/** The texts in sight whose contrast to their ground is below 4.5 (WCAG 2, level AA). */
() => {
  const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const channels = (color) => {
    probe.fillStyle = color;
    probe.fillRect(0, 0, 1, 1);
    return [...probe.getImageData(0, 0, 1, 1).data].slice(0, 3).map((value) => value / 255);
  };
  const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const luminance = (color) => {
    const [red, green, blue] = channels(color).map(linear);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ground = (node) => {
    const color = getComputedStyle(node).backgroundColor;
    return /^rgb\(/.test(color) || !node.parentElement ? color : ground(node.parentElement);
  };
  const hasText = (node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
  const exempt = ".unseen, .skip, .who, :disabled, .top, option";
  return [...document.querySelectorAll("body *")]
    .filter((node) => hasText(node) && node.checkVisibility() && !node.closest(exempt))
    .map((node) => {
      const [text, behind] = [luminance(getComputedStyle(node).color), luminance(ground(node))];
      return [node.tagName, node.className, (Math.max(text, behind) + 0.05) / (Math.min(text, behind) + 0.05)];
    })
    .filter(([, , ratio]) => ratio < 4.5);
}
