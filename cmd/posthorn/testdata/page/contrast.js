// What of the page is too faint (WCAG 2.2, 1.4.3 and 1.4.11): text of less than 4.5 to its
// ground, borders of controls of less than 3. A list of lines, empty where all is well.
(() => {
  const parse = (color) => {
    const [r, g, b, a = 1] = color.match(/[\d.]+/g).map(Number);
    return { rgb: [r, g, b], a };
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const over = (top, below) => top.rgb.map((c, i) => c * top.a + below[i] * (1 - top.a));
  const ground = (element) => {
    if (!element) return [255, 255, 255];
    const own = parse(getComputedStyle(element).backgroundColor);
    return own.a === 1 ? own.rgb : over(own, ground(element.parentElement));
  };
  const ratio = (a, b) => {
    const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x);
    return (high + 0.05) / (low + 0.05);
  };
  const faint = [];
  const check = (least, what, color, behind) => {
    const got = ratio(over(parse(color), behind), behind);
    if (got < least) faint.push(`${got.toFixed(2)} ${what}`);
  };
  for (const element of document.querySelectorAll("body *")) {
    if (!element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    const style = getComputedStyle(element);
    const name = element.tagName + "#" + element.id + "." + element.className;
    const hasText = Array.from(element.childNodes).some((n) => n.nodeType === Node.TEXT_NODE && n.textContent.trim());
    if (hasText || element.value) check(4.5, name + " text", style.color, ground(element));
    if (element.placeholder) check(4.5, name + " placeholder", getComputedStyle(element, "::placeholder").color, ground(element));
    if (element.matches("input:not([type=radio]), textarea, select, button.plain")) check(3, name + " border", style.borderTopColor, ground(element.parentElement));
    if (element.matches("rect")) check(3, name + " bar", style.fill, ground(element.closest("section")));
  }
  return faint;
})()
