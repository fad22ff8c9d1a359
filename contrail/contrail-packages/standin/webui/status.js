// What the console needs, asked again and again, and the page that says how it is.
'use strict';
const http = require('http');
const net = require('net');
const config = require('/etc/contrail/config.global.js');

const SECONDS_BETWEEN = 3;
const PATIENCE = 5000;

function redis(done) {
    const words = config.redis_password ? [['AUTH', config.redis_password], ['PING']] : [['PING']];
    const lines = words.map((command) => `*${command.length}\r\n` +
        command.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join(''));
    const socket = net.connect(Number(config.redis_server_port), config.redis_server_ip);
    let said = '';
    socket.setTimeout(PATIENCE, () => socket.destroy(new Error('no answer')));
    socket.on('connect', () => socket.write(lines.join('')));
    socket.on('data', (data) => {
        said += data;
        if (said.includes('PONG')) { socket.destroy(); done(null); }
        else if (said.includes('-')) { socket.destroy(new Error(said.trim())); }
    });
    socket.on('error', done);
}

function api(server) {
    return (done) => {
        const request = http.get({ host: server.server_ip, port: server.server_port, path: '/', timeout: PATIENCE },
            (reply) => { reply.resume(); done(reply.statusCode === 200 ? null : new Error(`HTTP ${reply.statusCode}`)); });
        request.on('timeout', () => request.destroy(new Error('no answer')));
        request.on('error', done);
    };
}

// A server without an address is not needed.
const needs = [
    { name: 'Redis', address: config.redis_server_ip, ask: redis },
    { name: 'ApiServer', address: config.cnfg.server_ip, ask: api(config.cnfg) },
    { name: 'OpServer', address: config.analytics.server_ip, ask: api(config.analytics) },
].filter((need) => need.address).map((need) => ({ ...need, status: 'Initializing', why: '' }));

function ask(need) {
    let answered = false;
    need.ask((error) => {
        if (answered) { return; }
        answered = true;
        const status = error ? 'Down' : 'Up';
        if (status !== need.status) { console.error(`${need.name} is ${status}${error ? `: ${error.message}` : ''}`); }
        need.status = status;
        need.why = error ? error.message : '';
    });
}

exports.watch = () => {
    needs.forEach(ask);
    setInterval(() => needs.forEach(ask), SECONDS_BETWEEN * 1000);
};

// 503 until all that is needed is there, so that whoever asks for the page knows.
exports.answer = (name) => (request, reply) => {
    const functional = needs.every((need) => need.status === 'Up');
    const connections = needs.map(({ name: type, address, status, why }) => ({ type, address, status, why }));
    reply.writeHead(functional ? 200 : 503, { 'Content-Type': 'application/json' });
    reply.end(JSON.stringify({ name, 'stand-in': true, state: functional ? 'Functional' : 'Non-Functional', connections }) + '\n');
};

exports.config = config;

['SIGTERM', 'SIGINT'].forEach((signal) => process.on(signal, () => process.exit(0)));
