/** Elements, and what is in the page. */

/**
 * @param {string} name
 * @param {Readonly<Record<string, string | boolean | undefined>>} [attributes] those that are undefined or false are left out
 * @param {(Node | string)[]} children
 * @returns {any}
 */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes))
    if (value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  made.append(...children);
  return made;
}

/** An element that tests and styles know by this name. */
export const part = (tag, name, attributes = {}, ...children) =>
  element(tag, { "data-testid": name, ...attributes }, ...children);

/** A button that says what it does by a word of the page's own. */
export const button = (act, label, attributes = {}) =>
  element("button", { type: "button", "data-act": act, "data-testid": act, ...attributes }, label);

/** @param {string} name @returns {any} */
export const find = (name) => document.querySelector(`[data-testid="${name}"]`);

/** Writes only what is new: a selection stays, and layout is not asked for. */
export function write(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/** A disabled button would drop the keyboard's focus; one that says it is disabled keeps it. */
export function enable(target, isOn) {
  target.setAttribute("aria-disabled", String(!isOn));
}

export const isEnabled = (target) => target.getAttribute("aria-disabled") !== "true";

/** For those who do not see the page: what became of an answer, never its text. */
export function announce(text) {
  write(find("news"), text);
}
