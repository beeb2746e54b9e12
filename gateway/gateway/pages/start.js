"use strict";
// Names, focus and links that Swagger UI leaves out and a screen reader or a keyboard needs.
function mend(root) {
  for (const list of root.querySelectorAll("select:not([aria-label])"))
    list.setAttribute("aria-label", list.id === "servers" ? "服务地址 Server" : "选择 Choose");
  for (const field of root.querySelectorAll(".operation-filter-input:not([aria-label])"))
    field.setAttribute("aria-label", "筛选 Filter");
  for (const text of root.querySelectorAll("pre:not([tabindex])")) text.tabIndex = 0;
  for (const part of root.querySelectorAll(".opblock-body:not([tabindex])")) part.tabIndex = 0;
  // A link inside a button; the button puts its address into the bar just as well.
  for (const link of root.querySelectorAll(".opblock-summary a.nostyle[href]"))
    link.removeAttribute("href");
}
window.addEventListener("load", function () {
  const place = document.getElementById("reference");
  new MutationObserver(() => mend(place)).observe(place, { childList: true, subtree: true });
  window.SwaggerUIBundle({
    url: "/openapi.json",
    dom_id: "#reference",
    deepLinking: true,
    displayRequestDuration: true,
    docExpansion: "none",
    filter: true,
    validatorUrl: null,
  });
});
