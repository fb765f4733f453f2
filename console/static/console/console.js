// Says when what the page shows is no longer true, and asks for nothing while nobody looks.
// htmx does the updates; without JavaScript the page is the same, and stands still.
"use strict";

(() => {
  const STALE_SECONDS = 7;
  const live = document.getElementById("live");
  const banner = document.getElementById("stale");
  let answeredAt = Date.now();
  let shownAt = Date.now();
  let reason = "";

  function say(text, link) {
    if (banner.dataset.text !== text) {
      banner.dataset.text = text;
      banner.textContent = text;
      if (link) banner.append(" ", link);
    }
    banner.hidden = !text;
    live.classList.toggle("stale", Boolean(text));
  }

  function logIn() {
    const link = document.createElement("a");
    link.href = location.href;
    link.textContent = "Log in";
    return link;
  }

  function look() {
    // A tab that was hidden asked for nothing: it has its time again.
    const seconds = (Date.now() - Math.max(answeredAt, shownAt)) / 1000;
    if (reason === "logged out") say("You are no longer logged in: what you see is out of date.", logIn());
    else if (seconds >= STALE_SECONDS && !document.hidden) {
      const since = new Date(answeredAt).toLocaleTimeString();
      say(`${reason || "The server does not answer"}. What you see is of ${since}.`);
    } else say("");
  }

  document.addEventListener("htmx:before:request", (event) => {
    if (document.hidden) event.preventDefault();
  });
  document.addEventListener("htmx:after:request", (event) => {
    const status = event.detail.ctx.response.status;
    if (status < 400) [answeredAt, reason] = [Date.now(), ""];
    else reason = status === 401 ? "logged out" : `The server answers with an error (${status})`;
    look();
  });
  document.addEventListener("htmx:error", () => {
    reason = "";
    look();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    shownAt = Date.now();
    htmx.trigger(live, "every");
  });
  setInterval(look, 1000);
})();
