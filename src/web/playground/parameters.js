/** What is asked besides the words: model, system prompt, sampling, transport. */
import { element, find } from "./dom.js";

const form = document.querySelector("#parameters");
const fields = {
  model: find("model"),
  system: find("system"),
  temperature: find("temperature"),
  max_tokens: find("max-tokens"),
  more: find("more"),
};
const models = document.querySelector("#models");

/** @returns {import("./record.js").Wanted} the transport that is chosen now */
export const transport = () => form.querySelector('input[name="transport"]:checked').value;

/** Whether all fields can be sent; if not, the browser says at the first what is wrong. */
export function areValid() {
  fields.more.setCustomValidity(complaint(fields.more.value));
  if (form.checkValidity()) return true;
  document.querySelector("#settings").open = true;
  form.reportValidity();
  return false;
}

function complaint(text) {
  if (text.trim() === "") return "";
  try {
    const value = JSON.parse(text);
    return isObject(value) ? "" : 'This must be a JSON object, such as {"seed": 1}.';
  } catch (error) {
    return `This is not JSON: ${error.message}`;
  }
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** A chat completions body but for its messages; and the system prompt, which is the first of these. */
export function asked() {
  const { model, system, temperature, max_tokens: most, more } = fields;
  return {
    system: system.value.trim(),
    body: {
      ...(model.value.trim() && { model: model.value.trim() }),
      ...(temperature.value && { temperature: Number(temperature.value) }),
      ...(most.value && { max_tokens: Number(most.value) }),
      ...(more.value.trim() ? JSON.parse(more.value) : {}),
    },
  };
}

/** The model that the gateway takes where none is named, as far as is known here. */
export const defaultModel = () => models.firstElementChild?.value;

/** @param {readonly string[]} ids */
export function showModels(ids) {
  models.replaceChildren(...ids.map((id) => element("option", { value: id })));
  if (ids.length === 1 && fields.model.value === "") fields.model.value = ids[0];
}

/** @returns {Record<string, string>} */
export const kept = () => ({
  ...Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, field.value])),
  transport: transport(),
});

/** @param {Readonly<Record<string, string>>} values */
export function restore(values) {
  for (const [name, field] of Object.entries(fields)) field.value = values[name] ?? "";
  const chosen = form.querySelector(
    `input[name="transport"][value="${CSS.escape(values.transport ?? "auto")}"]`,
  );
  if (chosen !== null) chosen.checked = true;
}

/** @param {() => void} onChange */
export function watch(onChange) {
  form.addEventListener("change", onChange);
  form.addEventListener("submit", (event) => event.preventDefault());
  fields.more.addEventListener("input", () => fields.more.setCustomValidity(""));
  // Beside the conversation there is room for them; above it they are in the way until they are wanted.
  const isWide = matchMedia("(min-width: 62rem)");
  const settings = document.querySelector("#settings");
  const unfold = () => (settings.open = isWide.matches);
  isWide.addEventListener("change", unfold);
  unfold();
}
