// Signing in with a passkey: shows its button where the browser can, asks the device, and sends
// the page's own form with the answer. Everything else on the page works without this.
(() => {
  "use strict";
  const form = document.getElementById("passkey-form");
  if (!form || !window.PublicKeyCredential || !navigator.credentials) return;
  const field = document.getElementById("credential");
  const why = document.getElementById("passkey-why");
  const bytes = (text) =>
    Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const text = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer)))
      .replace(/\+/g, "-")
      .replace(/\//g, "_")
      .replace(/=+$/, "");
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    if (field.value) return;
    event.preventDefault();
    why.hidden = true;
    try {
      const found = await navigator.credentials.get({
        publicKey: {
          challenge: bytes(form.dataset.challenge),
          rpId: form.dataset.rp,
          userVerification: "required",
          timeout: 300000,
        },
      });
      const said = found.response;
      field.value = JSON.stringify({
        id: found.id,
        rawId: text(found.rawId),
        type: found.type,
        response: {
          clientDataJSON: text(said.clientDataJSON),
          authenticatorData: text(said.authenticatorData),
          signature: text(said.signature),
          userHandle: said.userHandle ? text(said.userHandle) : null,
        },
      });
      form.submit();
    } catch {
      why.hidden = false;
    }
  });
})();
