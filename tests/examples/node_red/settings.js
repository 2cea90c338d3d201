// Headless: no editor, no admin API; what functions remember is on disk at once.
module.exports = {
    httpAdminRoot: false,
    httpNodeRoot: false,
    flowFile: "node-red-flow.json",
    contextStorage: { default: { module: "localfilesystem", config: { flushInterval: 0 } } },
    telemetry: { enabled: false, updateNotification: false },
    logging: { console: { level: "info", metrics: false, audit: false } },
};
