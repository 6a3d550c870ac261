// Two apps in one session, each a Subscriber (fhircast.mjs): node docs/examples/two-apps.mjs HUB TOPIC
import { Subscriber } from "./fhircast.mjs";

const [hub, topic] = process.argv.slice(2);
const events = ["Patient-open", "DiagnosticReport-open", "DiagnosticReport-update", "syncerror"];

/** What an app has been told, in order, for whoever waits for it. */
class Told {
  #waiting = [];
  #told = [];
  push(what) {
    this.#told.push(what);
    this.#waiting.shift()?.();
  }
  async next() {
    while (this.#told.length === 0) await new Promise((resolve) => this.#waiting.push(resolve));
    return this.#told.shift();
  }
}

const [viewer, reporter] = ["Viewer", "Reporter"].map((name) => {
  const told = new Told();
  const subscriber = new Subscriber({
    hub, topic, events, name,
    onState: (state, detail) => told.push({ state, detail }),
    onEvent(event, { own }) {
      if (!own) console.log(`${name} hears ${event["hub.event"]}`);
      told.push(event);
      // This viewer has a dialog open when it is to show Jones.
      const [patient] = event.context.filter(({ key }) => key === "patient");
      return name === "Viewer" && patient?.resource?.id === "jones" ? 409 : 200;
    },
  });
  return { subscriber, told };
});

for (const { subscriber, told } of [viewer, reporter]) {
  await subscriber.start();
  await told.next();
}

// The reporter opens a patient, the viewer follows.
const smith = { key: "patient", resource: { resourceType: "Patient", id: "smith", name: [{ family: "Smith" }] } };
await reporter.subscriber.publish("Patient-open", [smith]);
await viewer.told.next();
await reporter.told.next();

// It opens a report, and the viewer puts a measurement into it: an update names the version that it changes.
const report = { key: "report", resource: { resourceType: "DiagnosticReport", id: "r1", status: "unknown", code: {} } };
await reporter.subscriber.publish("DiagnosticReport-open", [report, smith]);
await reporter.told.next();
const opened = await viewer.told.next();
const measurement = { resourceType: "Observation", id: "o1", status: "preliminary", code: { text: "nodule, 7 mm" } };
const updates = {
  resourceType: "Bundle",
  type: "transaction",
  entry: [{ request: { method: "PUT" }, resource: measurement }],
};
const anchor = { key: "report", reference: { reference: "DiagnosticReport/r1" } };
const update = (version) =>
  viewer.subscriber.publish(
    "DiagnosticReport-update",
    [anchor, { key: "updates", resource: updates }],
    { "context.versionId": version },
  );
await update(opened["context.versionId"]);
const updated = await viewer.told.next();
await reporter.told.next();
console.log("a new version:", updated["context.priorVersionId"] === opened["context.versionId"]);

// Whoever names the version before that comes too late, reads what is current and decides anew.
await update(opened["context.versionId"]).catch(({ status, message }) => console.log(status, message));
const current = await viewer.subscriber.current();
const content = current.context.find(({ key }) => key === "content").resource.entry;
console.log("content:", content[0].resource.code.text);
await update(current["context.versionId"]);
await viewer.told.next();
await reporter.told.next();

// The viewer does not follow, and the reporter is told.
const jones = { key: "patient", resource: { resourceType: "Patient", id: "jones", name: [{ family: "Jones" }] } };
await reporter.subscriber.publish("Patient-open", [jones]);
await viewer.told.next();
await reporter.told.next();
const syncError = await reporter.told.next();
console.log("Reporter shows:", syncError.context[0].resource.issue[0].diagnostics);

for (const { subscriber, told } of [viewer, reporter]) {
  await subscriber.stop();
  const ended = await told.next();
  console.log(ended.state, ended.detail);
}
