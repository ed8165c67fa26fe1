/** Shows this gateway's own description with Swagger UI, in the colours that the reader prefers. */

/** The library's one global: it is loaded as a script of its own. @type {any} */
const SwaggerUi = globalThis["SwaggerUIBundle"];

const dark = matchMedia("(prefers-color-scheme: dark)");
const dress = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", dress);
dress();

SwaggerUi({
  url: "openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  // The default would show the description to a server of the library's makers.
  validatorUrl: null,
});
