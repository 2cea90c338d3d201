// A plain MQTT.js client: publishes to itself at each QoS, retained and not, and reports
// what came back as one JSON line. Usage: node client.js PORT or node client.js URL
"use strict";
const mqtt = require("mqtt");

async function main(where) {
  const url = where.includes("://") ? where : `mqtt://127.0.0.1:${where}`;
  const client = await mqtt.connectAsync(url, {
    clientId: "javascript",
    will: { topic: "js/will", payload: Buffer.from("lost"), qos: 1, retain: false },
  });
  const received = [];
  client.on("message", (topic, payload, packet) =>
    received.push([topic, payload.toString(), packet.retain]),
  );
  await client.publishAsync("js/retained", "kept", { qos: 1, retain: true });
  await client.subscribeAsync("js/#", { qos: 2 });
  for (const qos of [0, 1, 2]) {
    await client.publishAsync(`js/${qos}`, `qos ${qos}`, { qos });
  }
  while (received.length < 4) {
    await new Promise((resolve) => client.once("message", resolve));
  }
  await client.endAsync();
  console.log(JSON.stringify(received));
}

main(process.argv[2]).catch((error) => {
  console.error(error);
  process.exit(1);
});
