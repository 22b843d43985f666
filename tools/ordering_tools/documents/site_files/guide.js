"use strict";
// A button beside each block of code copies it. Lines of a shell session are copied without their output.
const said = document.getElementById("said");
for (const code of document.querySelectorAll("pre.code")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
      said.textContent = "Copied to the clipboard.";
      setTimeout(() => { button.textContent = "Copy"; said.textContent = ""; }, 2000);
    } catch {
      getSelection().selectAllChildren(code);
    }
  });
  const frame = document.createElement("div");
  frame.className = "frame";
  code.replaceWith(frame);
  frame.append(code, button);
}
// On a narrow screen the menu would stand between the reader and the text.
if (matchMedia("(max-width: 56rem)").matches) document.querySelector(".menu details").open = false;
