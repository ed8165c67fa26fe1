/** Copying, and saying that it was done. */
import { announce, element, write } from "./dom.js";

const SHOWN_MS = 1600;

/** Copies, and tells it on the button for a moment. @param {HTMLElement} button @param {string} text */
export async function copyFrom(button, text) {
  const isDone = await copied(text);
  const label = (button.dataset.label ??= button.textContent ?? "");
  write(button, isDone ? "Copied" : "Not copied");
  announce(isDone ? `${label}: copied` : "The browser did not allow copying");
  clearTimeout(Number(button.dataset.timer));
  button.dataset.timer = String(setTimeout(() => write(button, label), SHOWN_MS));
}

/** @returns {Promise<boolean>} */
async function copied(text) {
  // Pages without TLS have no clipboard of their own, save those of this machine.
  if (navigator.clipboard === undefined) return copiedFromField(text);
  return navigator.clipboard.writeText(text).then(
    () => true,
    () => copiedFromField(text),
  );
}

function copiedFromField(text) {
  const field = element("textarea", { class: "unseen", readonly: true, "aria-hidden": "true" });
  const before = document.activeElement;
  field.value = text;
  document.body.append(field);
  field.select();
  const isDone = document.execCommand("copy");
  field.remove();
  if (before instanceof HTMLElement) before.focus();
  return isDone;
}
