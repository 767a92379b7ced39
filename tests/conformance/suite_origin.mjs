// Starts the suite's origin server on loopback, at a port of the kernel's choice.
// Usage: node suite_origin.mjs CHECKOUT

import { Server } from 'node:net'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const checkout = resolve(process.argv[2])
process.env.npm_config_protocol = 'http'
process.env.npm_config_port = '0'
process.env.npm_config_pidfile = '/dev/null'

// The suite's server listens on every interface and has no option for it.
const listen = Server.prototype.listen
Server.prototype.listen = function () {
  return listen.call(this, 0, '127.0.0.1')
}

await import(pathToFileURL(join(checkout, 'test-engine/server/server.mjs')))
