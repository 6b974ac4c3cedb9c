// Light or dark: as the system is set, until the button is pressed.

const schemeButton = document.getElementById("scheme");
const darkSystem = window.matchMedia("(prefers-color-scheme: dark)");
const repainted = [];

const isDark = () => (document.documentElement.dataset.scheme ?? (darkSystem.matches ? "dark" : "light")) === "dark";

function repaint() {
  schemeButton.textContent = isDark() ? "Light" : "Dark";
  for (const paint of repainted) paint();
}

schemeButton.hidden = false;
schemeButton.addEventListener("click", () => {
  document.documentElement.dataset.scheme = isDark() ? "light" : "dark";
  repaint();
});
darkSystem.addEventListener("change", repaint);
