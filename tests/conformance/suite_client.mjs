// Runs the suite through a forward proxy and writes what came of each test as JSON.
// Usage: node suite_client.mjs CHECKOUT ORIGIN-URL PROXY-URL [TEST-ID ...]
//
// Node's fetch ignores HTTP_PROXY (at least up to Node 22), and undici's own ProxyAgent opens tunnels,
// through which no proxy can cache. So every request gets a dispatcher that connects to the proxy
// and asks it for the absolute URL. One undici serves all: the suite's own, which it needs anyway.

import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const [folder, originUrl, proxyUrl, ...ids] = process.argv.slice(2)
const checkout = resolve(folder)
const undici = createRequire(join(checkout, 'package.json'))('undici')
let sent = 0

function fieldsOf (headers) {
  if (!headers) return {}
  if (Array.isArray(headers) && !Array.isArray(headers[0])) {
    const fields = {}
    for (let i = 0; i < headers.length; i += 2) fields[headers[i]] = headers[i + 1]
    return fields
  }
  return typeof headers[Symbol.iterator] === 'function' ? Object.fromEntries(headers) : headers
}

class ForwardProxyAgent extends undici.Agent {
  dispatch (options, handler) {
    sent += 1
    const origin = new URL(options.origin)
    const headers = { ...fieldsOf(options.headers), host: origin.host }
    const path = origin.origin + options.path
    return super.dispatch({ ...options, origin: proxyUrl, path, headers }, handler)
  }
}

// Some tests make an Agent of their own to see interim responses.
undici.Agent = ForwardProxyAgent
const agent = new ForwardProxyAgent()
globalThis.fetch = (url, init) => undici.fetch(url, { dispatcher: agent, ...init })

function load (path) {
  return import(pathToFileURL(join(checkout, path)))
}

const { runTests, getResults } = await load('test-engine/client/runner.mjs')
const { determineTestResult, resultTypes } = await load('test-engine/lib/results.mjs')
const suites = (await load('tests/index.mjs')).default

function wanted (test) {
  return !test.browser_only && (ids.length === 0 || ids.includes(test.id))
}

const chosen = suites.map(suite => ({ ...suite, tests: suite.tests.filter(wanted) }))
await runTests(chosen, false, originUrl)
const results = getResults()
const verdicts = new Map(Object.entries(resultTypes).map(([name, type]) => [type, name]))
const tests = chosen.flatMap(suite => suite.tests.map(test => ({
  id: test.id,
  group: suite.id,
  name: test.name,
  kind: test.kind ?? 'required',
  is_cdn: test.cdn_only === true,
  verdict: verdicts.get(determineTestResult(suites, test.id, results, ids.length === 0)),
  reason: Array.isArray(results[test.id]) ? results[test.id].join(': ') : ''
})))
process.stdout.write(JSON.stringify({ sent, tests }))
await agent.destroy()
