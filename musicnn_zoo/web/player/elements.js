/** Elements of a page. */

export const find = (id) => document.getElementById(id);

/** An element with its properties and attributes, and what is in it; texts are never read as HTML. */
export function make(kind, properties = {}, ...children) {
  const element = document.createElement(kind);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Let the browser save something under a name. */
export function save(name, content, kind) {
  const url = URL.createObjectURL(new Blob([content], { type: kind }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
