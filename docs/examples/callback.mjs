// A callback for webhooks: SECRET=s3cret node docs/examples/callback.mjs PORT
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const secret = process.env.SECRET;

/** Whether these very bytes are from whoever knows the secret. */
function isSigned(body, header = "") {
  const expected = Buffer.from("sha256=" + createHmac("sha256", secret).update(body).digest("hex"));
  const shown = Buffer.from(header);
  return shown.length === expected.length && timingSafeEqual(shown, expected);
}

createServer(async (request, response) => {
  const query = new URL(request.url, "http://callback").searchParams;
  const end = (status, body = "") => response.writeHead(status, { "Content-Type": "text/plain" }).end(body);

  if (request.method === "GET") {
    console.log(query.get("hub.mode"), query.get("hub.topic"), query.get("hub.reason") ?? query.get("hub.events"));
    if (query.get("hub.mode") === "denied") return end(200);
    // Confirm what you have asked for and nothing else: anybody can name your callback to a hub.
    return query.get("hub.topic") === "demo" ? end(200, query.get("hub.challenge")) : end(404);
  }

  // The bytes as they came: JSON that is parsed and written again has another signature.
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  if (!isSigned(body, request.headers["x-hub-signature"])) return end(401);
  const { id, event } = JSON.parse(body);
  console.log(event["hub.event"], id);
  end(202);
}).listen(Number(process.argv[2]), "127.0.0.1", () => console.log("listening"));
