"use strict";
// The local run fills in its demo's tokens, and the address of its own page; a deployed API leaves this empty.
const preset = JSON.parse(document.getElementById("preset").textContent);
const source = new URL(document.currentScript.dataset.document, location.href).href;
const client = preset.client ?? { name: "", id: "", secret: "" };

function configuration(contract) {
  const flow = { "x-scalar-client-id": client.id, clientSecret: client.secret };
  return {
    url: source,
    authentication: {
      preferredSecurityScheme: contract === client.name && contract ? "oauth2" : "bearer",
      securitySchemes: {
        bearer: { token: preset.tokens?.[contract] ?? "" },
        oauth2: { flows: { clientCredentials: flow } },
      },
    },
    defaultHttpClient: { targetKey: "shell", clientKey: "curl" },
    // Nothing is asked of, or told to, another host.
    withDefaultFonts: false,
    // Some of the renderer's own colours are too light to read for many (WCAG 2, 1.4.3).
    customCss: ".light-mode{--scalar-color-2:#4a5263;--scalar-color-3:#5b6373;--scalar-color-green:#047857;"
      + "--scalar-color-orange:#b3420a}.dark-mode{--scalar-color-3:#a0a6b1}",
    telemetry: false,
    hideClientButton: true,
    showDeveloperTools: "never",
    mcp: { disabled: true },
    agent: { disabled: true },
  };
}

const contracts = [...Object.keys(preset.tokens ?? {}), ...(client.name ? [client.name] : [])];
let reference = Scalar.createApiReference("#reference", configuration(contracts[0] ?? ""));

if (preset.page) {
  const link = document.getElementById("local");
  link.href = preset.page;
  link.hidden = false;
}
if (contracts.length) {
  const label = document.getElementById("access");
  const choice = label.querySelector("select");
  choice.append(...contracts.map((name) => new Option(name)));
  choice.addEventListener("change", () => {
    reference.destroy();
    reference = Scalar.createApiReference("#reference", configuration(choice.value));
  });
  label.hidden = false;
}
