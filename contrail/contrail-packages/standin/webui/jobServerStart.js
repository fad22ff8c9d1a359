// The jobs of the console.
'use strict';
const http = require('http');
const { answer, config, watch } = require('./status.js');

http.createServer(answer('contrail-webui-jobserver')).listen(Number(config.jobServer.server_port));
watch();
