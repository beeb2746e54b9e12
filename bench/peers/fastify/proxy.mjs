// @fastify/http-proxy as its documentation shows it: no token, no limit.
// node proxy.mjs PORT UPSTREAM
import Fastify from 'fastify'
import proxy from '@fastify/http-proxy'

const [port, upstream] = process.argv.slice(2)
const app = Fastify({ logger: false })
app.register(proxy, { upstream, undici: { connections: 256 } })
await app.listen({ port: Number(port), host: '127.0.0.1', backlog: 4096 })
