(() => {
  "use strict";
  const find = (name) => document.getElementById(name);
  const items = [...document.querySelectorAll("li")];
  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const texts = items.map((item) => plain(item.textContent));

  function search() {
    const words = plain(find("search").value).split(/\s+/).filter(Boolean);
    let shown = 0;
    items.forEach((item, index) => {
      item.hidden = !words.every((word) => texts[index].includes(word));
      shown += item.hidden ? 0 : 1;
    });
    find("shown").textContent = words.length ? `${shown} of ${items.length}` : "";
  }

  function ask(words) {
    find("search").value = words;
    search();
  }

  find("search").addEventListener("input", () => {
    // So that the way back from a page leads to the same search.
    history.replaceState(null, "", `#${encodeURIComponent(find("search").value)}`);
    search();
  });
  document.querySelector("ul").addEventListener("click", (event) => {
    if (event.target.matches("button")) {
      ask(event.target.value);
      history.replaceState(null, "", `#${encodeURIComponent(event.target.value)}`);
    }
  });
  find("searching").hidden = false;
  ask(decodeURIComponent(location.hash.slice(1)));
})();
