// Lets a message pass if its term is the highest seen so far. The group's own state, edge/+/state,
// comes in here as well: it tells the term, also right after a restart, and goes no further.
const highest = context.get("highest_term") || 0;
const term = msg.payload && msg.payload.term;
if (!Number.isSafeInteger(term) || term < 0) {
    node.warn("ignored a message without a term");
    return null;
}
if (term < highest) {
    node.warn(`refused term ${term}, ${highest} was seen`);
    node.status({ fill: "red", shape: "dot", text: `refused term ${term}` });
    return null;
}
context.set("highest_term", term);
node.status({ fill: "green", shape: "dot", text: `term ${term}` });
return /^edge\/[^/]+\/state$/.test(msg.topic) ? null : msg;
