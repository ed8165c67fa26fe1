/** HTML that a model's Markdown became, made safe and dressed for the page. */
import { element } from "./dom.js";
import purify from "./purify.js";
import { SEAM } from "./seams.js";

/** What Markdown can say, and nothing that loads, runs, styles or sends. */
const RULES = {
  ALLOWED_TAGS: [
    ...["p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "ul", "ol", "li", "pre", "code"],
    ...["strong", "em", "del", "kbd", "sub", "sup", "a", "table", "thead", "tbody", "tr", "th", "td"],
  ],
  ALLOWED_ATTR: ["href", "title", "start", "align", "data-lang"],
  // Their values are no addresses, and need not look like one.
  ADD_URI_SAFE_ATTR: ["start", "align", "data-lang"],
  ALLOW_ARIA_ATTR: false,
  ALLOW_DATA_ATTR: false,
  // Nothing of this gateway's own either: a link that calls it is not the model's to make.
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  RETURN_DOM_FRAGMENT: true,
};

/** @param {string} html @returns {DocumentFragment} */
export const safe = (html) => purify.sanitize(html, RULES);

/**
 * @param {string} html
 * @param {readonly string[]} labels of the seams in it, in order
 * @returns {Element[]} what may stand in the page
 */
export function dressed(html, labels) {
  const fragment = safe(html);
  for (const link of fragment.querySelectorAll("a[href]"))
    for (const [name, value] of Object.entries({ target: "_blank", rel: "noopener noreferrer nofollow" }))
      link.setAttribute(name, value);
  for (const table of fragment.querySelectorAll("table")) {
    const frame = scrollable(element("div", { class: "table" }), "Table");
    table.replaceWith(frame);
    frame.append(table);
  }
  for (const pre of fragment.querySelectorAll("pre")) pre.replaceWith(codeBlock(pre));
  sew(fragment, labels);
  // Between blocks there is nothing but line ends.
  return [...fragment.children];
}

/** What is wider than the page is scrolled by the keyboard too. */
function scrollable(block, label) {
  for (const [name, value] of Object.entries({ tabindex: "0", role: "group", "aria-label": label }))
    block.setAttribute(name, value);
  return block;
}

function codeBlock(pre) {
  const language = pre.dataset.lang || "text";
  const clean = scrollable(element("pre"), `Code, ${language}`);
  clean.append(...pre.childNodes);
  const copy = element("button", { type: "button", class: "quiet", "data-act": "copy-code" }, "Copy");
  copy.setAttribute("aria-label", `Copy code, ${language}`);
  return element(
    "div",
    { class: "code" },
    element("div", { class: "code-head" }, element("span", {}, language), copy),
    clean,
  );
}

/** Replaces the signs that stand for seams. */
function sew(fragment, labels) {
  const walker = document.createTreeWalker(fragment, NodeFilter.SHOW_TEXT);
  const torn = [];
  while (walker.nextNode()) if (walker.currentNode.data.includes(SEAM)) torn.push(walker.currentNode);
  let index = 0;
  for (const node of torn) {
    const parts = node.data
      .split(SEAM)
      .flatMap((text, at) => (at === 0 ? [text] : [seam(labels[index++] ?? "cut"), text]));
    node.replaceWith(...parts);
  }
}

const seam = (label) => element("span", { class: "seam", role: "img", "aria-label": label, title: label });
