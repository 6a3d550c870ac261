// A first subscriber: node docs/examples/first.mjs HUB TOPIC
const [hub, topic] = process.argv.slice(2);

const answer = await fetch(hub, {
  method: "POST",
  body: new URLSearchParams({
    "hub.channel.type": "websocket",
    "hub.mode": "subscribe",
    "hub.topic": topic,
    "hub.events": "Patient-open,Patient-close,syncerror",
    "subscriber.name": "First app",
  }),
});
if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
const { "hub.channel.endpoint": endpoint } = await answer.json();

const socket = new WebSocket(endpoint);
socket.onmessage = ({ data }) => {
  const message = JSON.parse(data);
  if (message["hub.mode"]) return console.log(message["hub.mode"], message["hub.events"]);
  const { "hub.event": name, context } = message.event;
  console.log(name, context.map(({ resource }) => `${resource.resourceType}/${resource.id}`).join(" "));
  // Else the others are told that this app did not follow.
  socket.send(JSON.stringify({ id: message.id, status: 200 }));
};
socket.onclose = ({ code }) => console.log("closed", code);
