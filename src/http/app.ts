import {randomUUID} from 'node:crypto'
import express, {type Express, type NextFunction, type Request, type RequestHandler, type Response} from 'express'
import helmet from 'helmet'
import {anyCallerOf, callerOf, type Person} from '../edge/callers.ts'
import {ApiError, errorBody, invalid, inWords, toApiError, unreadable} from '../edge/errors.ts'
import {clientNetwork} from '../edge/limits.ts'
import {isForeign} from '../edge/origin.ts'
import type {Parts} from '../edge/parts.ts'
import {crossOrigin} from './crossOrigin.ts'
import {isKnown} from './etag.ts'
import {pathOf, repeatOf} from './idempotencyKey.ts'
import {readJson} from './jsonBody.ts'
import {openPositions} from './positions.ts'
import type {Answer, Route} from './route.ts'
import {routesOf} from './routes.ts'
import {STATUS} from './statuses.ts'
import {contentSecurityPolicy, openWebClient} from './webClient.ts'
import {writeJson} from './writtenJson.ts'

const UNSAFE = ['POST', 'PUT', 'PATCH', 'DELETE']

/** The HTTP side: every route of `routesOf`, the web client, and JSON for all that is neither. */
export const openHttp = (parts: Parts): Express => {
  const {config, logger, metrics} = parts
  const app = express()
  app.disable('x-powered-by')
  app.set('trust proxy', config.trustProxy)
  app.set('etag', false)
  // Express would answer 304 to any `If-None-Match: *`; whether that is so is for the route to say.
  Object.defineProperty((app as Express & {request: Request}).request, 'fresh', {value: false})
  app.use(
    helmet({
      contentSecurityPolicy: contentSecurityPolicy(config),
      strictTransportSecurity: config.baseUrl.startsWith('https:') ? undefined : false,
    }),
  )
  app.use((req, res, next) => {
    const requestId = randomUUID()
    res.locals.requestId = requestId
    res.setHeader('X-Request-Id', requestId)
    const began = performance.now()
    res.on('close', () => {
      const ms = performance.now() - began
      // The pattern only: a path may hold an id, a query a token.
      const route = routeOf(req)
      const status = res.headersSent ? res.statusCode : ('aborted' as const)
      metrics.request({route, method: req.method, status, seconds: ms / 1000})
      logger.debug({requestId, method: req.method, path: route, status, ms: Math.round(ms)}, 'request')
    })
    next()
  })
  if (config.corsOrigins.length > 0) app.use(crossOrigin(config.corsOrigins))
  app.use((req, _res, next) => {
    // RFC 9112, section 3.2.
    if (req.headers.host === undefined && req.httpVersion === '1.1') next(unreadable('it names no Host'))
    else if (UNSAFE.includes(req.method) && isForeign(req, config)) next(new ApiError('CROSS_SITE'))
    // What is no preflight asks what may be asked, and Express would answer for some paths and not for others.
    else if (req.method === 'OPTIONS') next(new ApiError('NOT_FOUND'))
    else next()
  })

  for (const route of routesOf(parts)) {
    const before = route.auth === 'none' ? [] : [parts.sessions.load]
    app[route.method](route.path, ...before, mounted(route, parts))
  }
  app.use(openWebClient(config))

  app.use((_req, _res, next) => next(new ApiError('NOT_FOUND')))
  app.use((error: unknown, req: Request, res: Response, _next: NextFunction) => {
    const known = toApiError(error)
    const requestId: string = res.locals.requestId
    if (known.code === 'INTERNAL')
      logger.error({requestId, path: req.route?.path, error: describe(error)}, 'a request failed')
    else if (known.code === 'UNAVAILABLE')
      logger.warn({requestId, path: req.route?.path, error: describe(error)}, 'a part is not there')
    if (res.headersSent) return res.destroy()
    const status = STATUS[known.code]
    if (status === 429 || status === 503) res.set('Retry-After', String(known.retryAfter ?? 1))
    res.set('Cache-Control', 'no-store')
    res.status(status).json(errorBody(known, requestId))
  })
  return app
}

/** As Express' `send` would, without asking again what is known here. Node leaves the body away for a HEAD. */
const sendJson = (res: Response, bytes: Buffer): void => {
  res.setHeader('Content-Type', 'application/json; charset=utf-8')
  res.setHeader('Content-Length', bytes.length)
  res.end(bytes)
}

/** The pattern that the request's path fits; the web client's pages and files are one. */
const routeOf = ({route}: Request): string =>
  route === undefined ? 'none' : typeof route.path === 'string' ? route.path : 'page'

const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null && !Array.isArray(value)

const mounted = (route: Route, parts: Parts): RequestHandler => {
  const {keys, limits, refusals} = parts
  const positions = openPositions(parts)
  const isWrite = route.method !== 'get'
  const callerIn = route.auth === 'person' ? callerOf : route.auth === 'optional' ? anyCallerOf : null
  const isRead = !isWrite && route.tables.length > 0 && !route.unsafe
  // What anybody may read is the same for everybody, so it can be known already.
  const isRevalidated = isRead && route.auth === 'none'

  // What a request without a query has for one.
  const noQuery = route.query?.safeParse({})

  const check = (req: Request) => {
    const params = route.params?.safeParse(req.params)
    if (params && !params.success) throw new ApiError('NOT_FOUND')
    const query = noQuery?.success && !req.url.includes('?') ? noQuery : route.query?.safeParse(req.query, inWords)
    if (query && !query.success) throw invalid(query.error)
    const body = route.body?.safeParse(req.body === undefined ? {} : req.body, inWords)
    if (body && !body.success)
      throw req.body === undefined || isObject(req.body)
        ? invalid(body.error)
        : unreadable('the body must be an object')
    return {params: params?.data, query: query?.data, body: body?.data}
  }

  const limitWrites = async (req: Request, by: Person | null): Promise<void> => {
    if (by?.isBot) return
    await limits.writes(by?.userId ?? req.session?.userId ?? `ip ${clientNetwork(req.ip ?? '')}`)
  }

  const answer = async (req: Request, res: Response, {body, written, redirect, position, headers}: Answer<unknown>) => {
    if (position !== undefined && position !== null) await positions.afterWrite(req, res, route.tables, position)
    for (const name in headers) res.setHeader(name, headers[name]!)
    if (redirect !== undefined) return res.set('Cache-Control', 'no-store').redirect(redirect)
    if (!res.hasHeader('Cache-Control'))
      res.setHeader('Cache-Control', route.auth === 'none' ? 'no-cache' : 'private, no-cache')
    if (body === undefined && !written) return res.end()
    if (!isRevalidated || res.statusCode !== 200) return sendJson(res, Buffer.from(JSON.stringify(body)))
    const {bytes, etag} = written ?? writeJson(JSON.stringify(body), headers?.Link)
    res.setHeader('ETag', etag)
    if (isKnown(req.headers['if-none-match'], etag)) return res.status(304).end()
    return sendJson(res, bytes)
  }

  return async (req, res) => {
    if (route.unsafe && req.method === 'HEAD') return void res.set('Cache-Control', 'no-store').end()
    const by = callerIn && (await callerIn(req, parts))
    if (isWrite) await limitWrites(req, by)
    if (route.body) await readJson(req, res)
    const {params, query, body} = check(req)
    const repeat =
      route.repeatable && by ? repeatOf(req, keys, {userId: by.userId, path: pathOf(route.path, params)}) : null
    if (isRead) await positions.beforeRead(req, route.tables, by && parts.shownTo(by.userId))
    const requestId: string = res.locals.requestId
    const incoming = {params, query, body, repeat, requestId, req, res, by: by as Person}
    try {
      await answer(req, res, await route.handle(incoming))
    } catch (error) {
      if (by && isWrite) await refusals.commandFailed(by, route.operationId, error, requestId)
      throw error
    }
  }
}

/** An error for the log, without what people wrote: PostgreSQL's detail and query parameters stay out. */
const describe = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error)
  const cause = error.cause instanceof Error ? `; because: ${error.cause.message}` : ''
  return `${error.stack ?? error.message}${cause}`
}
