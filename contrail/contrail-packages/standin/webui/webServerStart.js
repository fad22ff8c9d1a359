// The pages of the console: over TLS, and over HTTP only the way there.
'use strict';
const fs = require('fs');
const http = require('http');
const https = require('https');
const { answer, config, watch } = require('./status.js');

const options = { key: fs.readFileSync(config.server_options.key_file), cert: fs.readFileSync(config.server_options.cert_file) };
const pages = answer('contrail-webui');
https.createServer(options, pages).listen(Number(config.https_port));
http.createServer(config.insecure_access ? pages : (request, reply) => {
    const host = (request.headers.host || '').split(':')[0];
    reply.writeHead(302, { Location: `https://${host}:${config.https_port}${request.url}` });
    reply.end();
}).listen(Number(config.http_port));
watch();
