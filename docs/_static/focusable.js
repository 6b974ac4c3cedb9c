// A block of code or a table that is wider than its column can be scrolled with the keyboard, too.
const wide = "div.highlight pre, div.table-wrapper";
const update = () => {
  for (const one of document.querySelectorAll(wide)) {
    if (one.scrollWidth > one.clientWidth) one.tabIndex = 0;
    else one.removeAttribute("tabindex");
  }
};
window.addEventListener("load", update);
window.addEventListener("resize", update);
