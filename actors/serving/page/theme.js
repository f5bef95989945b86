// The choice of light or dark colours, kept by the browser.

const byId = (id) => document.getElementById(id);

export function followsTheme() {
  const theme = byId("theme");
  const apply = () => {
    if (theme.value) document.documentElement.dataset.theme = theme.value;
    else delete document.documentElement.dataset.theme;
  };
  try {
    theme.value = localStorage.getItem("theme") ?? "";
  } catch {
    // Storage may be forbidden. Then the choice holds for this page.
  }
  theme.addEventListener("change", () => {
    apply();
    try {
      localStorage.setItem("theme", theme.value);
    } catch {
      // As above.
    }
  });
  apply();
}
