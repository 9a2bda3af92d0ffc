// Node-RED's editor with a user of its own. The password is "nine violet herons".
module.exports = {
    uiHost: "127.0.0.1",
    flowFile: "flows.json",
    credentialSecret: false,
    adminAuth: {
        type: "credentials",
        users: [
            {
                username: "admin",
                password: "$2b$08$lzqghrM8lgKrCapfNPX1V.kmAi4g5/tw5F./vyzPMo1jaFSmST.X.",
                permissions: "*",
            },
        ],
    },
    telemetry: { enabled: false, updateNotification: false },
    editorTheme: { tours: false, projects: { enabled: false }, palette: { catalogues: [] } },
    logging: { console: { level: "warn", metrics: false, audit: false } },
};
