// An MQTT.js client in MQTT 5: asks itself and answers, with aliases, user properties, a
// subscription identifier and a shared subscription; reports one JSON line.
// Usage: node client5.js PORT
"use strict";
const mqtt = require("mqtt");

async function main(port) {
  const options = { protocolVersion: 5, properties: { topicAliasMaximum: 5, receiveMaximum: 3 } };
  const url = `mqtt://127.0.0.1:${port}`;
  const client = await mqtt.connectAsync(url, { ...options, clientId: "asks", autoUseTopicAlias: true });
  const other = await mqtt.connectAsync(url, { ...options, clientId: "answers" });
  const found = { shared: [] };
  let missing = 5;
  const complete = new Promise((resolve) => {
    const count = () => --missing || resolve();
    other.on("message", (topic, payload, packet) => {
      if (topic === "js/shared") {
        found.shared.push(payload.toString());
        return count();
      }
      found.user = packet.properties.userProperties;
      other.publish(packet.properties.responseTopic, `${payload} is the answer`, {
        qos: 2,
        properties: { correlationData: packet.properties.correlationData },
      });
    });
    client.on("message", (topic, payload, packet) => {
      found.answer = [topic, packet.properties.correlationData.toString(), payload.toString()];
      found.subscription = packet.properties.subscriptionIdentifier;
      count();
    });
  });
  await other.subscribeAsync("js/questions", { qos: 2 });
  await other.subscribeAsync("$share/group/js/shared", { qos: 2 });
  await client.subscribeAsync("js/answers", { qos: 2, properties: { subscriptionIdentifier: 7 } });
  for (const number of [0, 1, 2, 3]) {
    await client.publishAsync("js/shared", `${number}`, { qos: number % 3 });
  }
  await client.publishAsync("js/questions", "42", {
    qos: 1,
    properties: {
      responseTopic: "js/answers",
      correlationData: Buffer.from("1"),
      userProperties: { color: ["red", "green"] },
    },
  });
  await complete;
  found.refused = await client.subscribeAsync("js/#/wrong", { qos: 0 }).then(() => false, () => true);
  await client.endAsync();
  await other.endAsync();
  found.shared.sort(); // each quality has an order of its own
  console.log(JSON.stringify(found));
}

main(Number(process.argv[2])).catch((error) => {
  console.error(error);
  process.exit(1);
});
