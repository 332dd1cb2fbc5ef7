import {readFile} from 'node:fs/promises'
import {join} from 'node:path'
import {fileURLToPath} from 'node:url'
import {Router} from 'express'
import type {HelmetOptions} from 'helmet'
import type {Config} from '../config.ts'
import {ossOrigin} from '../uploads/ossStore.ts'
import {UPLOADS_PATH} from '../uploads/uploadUrls.ts'
import {STATUS} from './statuses.ts'

const BUILT = fileURLToPath(new URL('../../dist/web/', import.meta.url))
const PAGES = ['/', '/posts', '/posts/:postId', '/rooms', '/rooms/:roomId']
const NO_PAGES = /^\/(api|uploads|assets)(\/|$)/i
const NOT_BUILT =
  'The web client is not built: run "npm run build" in the folder of the server, then reload this page.\n'

/** Nothing inline, nothing from elsewhere but uploads. `'self'` covers the page's own WebSocket (CSP 3, section 6.7.2.8). */
export const contentSecurityPolicy = (
  config: Pick<Config, 'baseUrl' | 'uploads'>,
): Exclude<HelmetOptions['contentSecurityPolicy'], boolean> => {
  const {oss} = config.uploads
  return {
    useDefaults: false,
    directives: {
      'default-src': ["'none'"],
      'script-src': ["'self'"],
      'style-src': ["'self'"],
      'img-src': ["'self'", 'data:', 'blob:', config.baseUrl, ...(oss ? [ossOrigin(oss)] : [])],
      'font-src': ["'self'"],
      'connect-src': ["'self'"],
      'manifest-src': ["'self'"],
      'form-action': ["'self'"],
      'base-uri': ["'none'"],
      'frame-ancestors': ["'none'"],
      'object-src': ["'none'"],
      ...(config.baseUrl.startsWith('https:') ? {'upgrade-insecure-requests': []} : {}),
    },
  }
}

/**
 * The web client as `npm run build` leaves it in `dist/web`: its pages, and its assets, whose names hold a hash of what is
 * in them. Files are looked up at each request, so a new build is served without a restart.
 */
export const openWebClient = ({baseUrl, uploads: {oss}}: Pick<Config, 'baseUrl' | 'uploads'>): Router => {
  const router = Router()
  // The page shows what begins so as an image; every other address is a link.
  const uploads = [`${baseUrl}${UPLOADS_PATH}`, ...(oss ? [`${ossOrigin(oss)}/`] : [])].join(' ')

  const readPage = async (): Promise<string | null> => {
    const page = await readFile(join(BUILT, 'index.html'), 'utf8').catch(() => null)
    return page?.replace('%UPLOADS%', uploads) ?? null
  }

  router.get(PAGES, async (_req, res) => {
    res.set('Cache-Control', 'no-cache')
    const page = await readPage()
    if (page === null) return void res.status(STATUS.UNAVAILABLE).type('text').send(NOT_BUILT)
    res.type('html').send(page)
  })

  router.get('/assets/:name', (req, res, next) => {
    const {name} = req.params
    if (!/^[\w-][\w.-]*$/.test(name)) return next()
    const isText = /\.(js|css|svg)$/.test(name)
    const encoding = isText ? req.acceptsEncodings(['br', 'gzip', 'identity']) : 'identity'
    const suffix = {br: '.br', gzip: '.gz'}[String(encoding)] ?? ''
    res.type(name)
    if (isText) res.vary('Accept-Encoding')
    if (suffix) res.set('Content-Encoding', String(encoding))
    res.sendFile(name + suffix, {root: join(BUILT, 'assets'), immutable: true, maxAge: '1y'}, (error) => {
      if (!error) return
      if (res.headersSent) return void res.destroy()
      for (const header of ['Content-Encoding', 'Content-Type', 'Cache-Control', 'Vary']) res.removeHeader(header)
      next()
    })
  })

  // A person who follows a broken link is told so by the client; a program gets JSON.
  router.use(async (req, res, next) => {
    const isRead = req.method === 'GET' || req.method === 'HEAD'
    if (!isRead || NO_PAGES.test(req.path) || req.accepts(['json', 'html']) !== 'html') return next()
    const page = await readPage()
    if (page === null) return next()
    res.set('Cache-Control', 'no-store').status(STATUS.NOT_FOUND).type('html').send(page)
  })
  return router
}
