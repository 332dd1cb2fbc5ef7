import {randomUUID} from 'node:crypto'
import express, {type Express, type NextFunction, type Request, type RequestHandler, type Response} from 'express'
import helmet from 'helmet'
import {callerOf, type Person} from '../edge/callers.ts'
import {ApiError, errorBody, invalid, toApiError} from '../edge/errors.ts'
import {clientNetwork} from '../edge/limits.ts'
import {isForeign} from '../edge/origin.ts'
import type {Parts} from '../edge/parts.ts'
import {openPositions} from './positions.ts'
import type {Answer, Incoming, Route} from './route.ts'
import {routesOf} from './routes.ts'
import {STATUS} from './statuses.ts'

const JSON_BYTES = 512 * 1024

/** The HTTP side: every route of `routesOf`, and JSON for all that is none. */
export const openHttp = (parts: Parts): Express => {
  const {config, logger} = parts
  const app = express()
  app.disable('x-powered-by')
  app.set('trust proxy', config.trustProxy)
  app.set('etag', false)
  app.use(helmet({strictTransportSecurity: config.baseUrl.startsWith('https:') ? undefined : false}))
  app.use((req, res, next) => {
    const requestId = randomUUID()
    res.locals.requestId = requestId
    res.set('X-Request-Id', requestId)
    const began = performance.now()
    res.on('close', () => {
      const ms = Math.round(performance.now() - began)
      // The path only: a query may hold a token.
      logger.debug(
        {requestId, method: req.method, path: req.route?.path ?? 'none', status: res.statusCode, ms},
        'request',
      )
    })
    next()
  })
  app.use((req, _res, next) => {
    const unsafe = ['POST', 'PUT', 'PATCH', 'DELETE'].includes(req.method)
    next(unsafe && isForeign(req, config) ? new ApiError('CROSS_SITE') : undefined)
  })

  for (const route of routesOf(parts)) {
    const before: RequestHandler[] = []
    if (route.auth !== 'none') before.push(parts.sessions.load)
    if (route.body) before.push(wantsJson, express.json({limit: JSON_BYTES, type: 'application/json'}))
    app[route.method](route.path, ...before, mounted(route, parts))
  }

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

const wantsJson: RequestHandler = (req, _res, next) => {
  const hasBody = req.headers['transfer-encoding'] !== undefined || Number(req.headers['content-length'] ?? 0) > 0
  next(hasBody && !req.is('application/json') ? new ApiError('NOT_JSON') : undefined)
}

const mounted = (route: Route, parts: Parts): RequestHandler => {
  const {config, pool, limits} = parts
  const positions = openPositions(parts)
  const secure = config.baseUrl.startsWith('https:')

  const check = (req: Request, res: Response): Incoming<unknown, unknown, unknown> => {
    const params = route.params?.safeParse(req.params)
    if (params && !params.success) throw new ApiError('NOT_FOUND')
    const query = route.query?.safeParse(req.query)
    if (query && !query.success) throw invalid(query.error)
    const body = route.body?.safeParse(req.body ?? {})
    if (body && !body.success) throw invalid(body.error)
    return {
      params: params?.data,
      query: query?.data,
      body: body?.data,
      requestId: res.locals.requestId,
      ip: req.ip ?? req.socket.remoteAddress ?? '',
      req,
      res,
    }
  }

  const limitWrites = async (req: Request, by: Person | null): Promise<void> => {
    if (req.method === 'GET' || by?.isBot) return
    await limits.writes(by ? by.userId : `ip ${clientNetwork(req.ip ?? '')}`)
  }

  const answer = async (req: Request, res: Response, {body, redirect, position, headers}: Answer<unknown>) => {
    if (position !== undefined && position !== null)
      await positions.afterWrite(req, res, route.tables, position, secure)
    for (const [name, value] of Object.entries(headers ?? {})) res.set(name, value)
    if (redirect !== undefined) return res.set('Cache-Control', 'no-store').redirect(redirect)
    if (!res.get('Cache-Control')) res.set('Cache-Control', route.auth === 'none' ? 'no-cache' : 'private, no-cache')
    if (body === undefined) return res.end()
    return res.json(body)
  }

  return async (req, res) => {
    if (route.unsafe && req.method === 'HEAD') return void res.set('Cache-Control', 'no-store').end()
    const by = route.auth === 'person' ? await callerOf(req, pool, config.chatBotToken) : null
    await limitWrites(req, by ?? (req.session?.userId ? ({userId: req.session.userId, isBot: false} as Person) : null))
    const incoming = check(req, res)
    if (req.method !== 'POST' && route.tables.length > 0 && !route.unsafe) {
      await positions.beforeRead(req, route.tables, by && parts.shownTo(by.userId))
    }
    await answer(req, res, await route.handle({...incoming, by: by as Person}))
  }
}

/** An error for the log, without what people wrote: PostgreSQL's detail and query parameters stay out. */
const describe = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error)
  const cause = error.cause instanceof Error ? `; because: ${error.cause.message}` : ''
  return `${error.stack ?? error.message}${cause}`
}
