import {randomUUID} from 'node:crypto'
import express, {type Express} from 'express'
import helmet from 'helmet'
import {pino} from 'pino'
import {Histogram, Registry} from 'prom-client'
import {contentSecurityPolicy} from '../../src/http/webClient.ts'

/** An Express with what every answer of the server goes through: its headers, a request id, the log, a histogram. */
export const withMiddleware = (baseUrl: string): Express => {
  const app = bare()
  const logger = pino({level: 'info'})
  const requests = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'As the server has it.',
    labelNames: ['route', 'method', 'status'] as const,
    buckets: [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
    registers: [new Registry()],
  })
  const policy = contentSecurityPolicy({baseUrl, uploads: {oss: null, dir: null}})
  app.use(helmet({contentSecurityPolicy: policy, strictTransportSecurity: false}))
  app.use((req, res, next) => {
    const requestId = randomUUID()
    res.set('X-Request-Id', requestId)
    const began = performance.now()
    res.on('close', () => {
      const ms = performance.now() - began
      const route = req.route?.path ?? 'none'
      requests.observe({route, method: req.method, status: res.statusCode}, ms / 1000)
      logger.debug({requestId, method: req.method, path: route, status: res.statusCode, ms: Math.round(ms)}, 'request')
    })
    next()
  })
  return app
}

export const bare = (): Express => {
  const app = express()
  app.disable('x-powered-by')
  app.set('etag', false)
  return app
}

export const optionsOf = <T>(): T & {port: number} => {
  // An end by itself leaves its profile behind.
  process.once('SIGTERM', () => process.exit())
  return JSON.parse(process.argv[2]!)
}

export const listen = (app: Express, port: number): void => {
  app.listen(port, '127.0.0.1', () => process.stdout.write('ready\n'))
}
