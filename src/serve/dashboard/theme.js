// Runs before the first paint, so that a chosen theme does not flash. All else waits.
try {
  const theme = localStorage.getItem("freshet.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  /* Storage is forbidden: the system's theme is shown. */
}
