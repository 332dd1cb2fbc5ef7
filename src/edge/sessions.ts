import {randomBytes} from 'node:crypto'
import connectPgSimple from 'connect-pg-simple'
import type {Request, RequestHandler, Response} from 'express'
import session, {type SessionData} from 'express-session'
import type {Pool} from 'pg'
import type {Provider, UserId} from '../domain/user.ts'
import type {cookieFlags} from './cookies.ts'

declare module 'express-session' {
  interface SessionData {
    userId: UserId
    /** When the person proved who they are, in milliseconds since 1970. */
    signedInAt: number
    /** The registrations that this browser made or tried to log in to, newest first: what a resend is about. */
    attempts: UserId[]
    /** A login at a provider that this browser began; until `expiresAt`, in milliseconds since 1970. */
    oauth: {provider: Provider; state: string; expiresAt: number}
    /** The day on which the session was last prolonged. */
    day: number
  }
}

export const SESSIONS_DDL = `
CREATE SCHEMA IF NOT EXISTS state;
CREATE TABLE IF NOT EXISTS state.sessions (
  sid text PRIMARY KEY,
  sess json NOT NULL,
  expire timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS sessions_expire ON state.sessions (expire);
CREATE INDEX IF NOT EXISTS sessions_user ON state.sessions ((sess->>'userId'));
`

const DAY_MS = 86_400_000
const SIGNED_IN_MS = 30 * DAY_MS
/** Before anybody has signed in, a session remembers what matters for a day at most. */
const ANONYMOUS_MS = DAY_MS
const OAUTH_MS = 10 * 60_000
const MAX_ATTEMPTS = 10
const SESSION_COOKIE = 'sid'
const PRUNE_MS = 15 * 60_000

export type Sessions = {
  /** Loads the request's session; one that is written to is saved when the answer begins. */
  load: RequestHandler
  /** Keeps it as the session's own registration. The oldest of many is forgotten. */
  noteAttempt(req: Request, userId: UserId): void
  /** Signs in under a new session id, so that an id somebody planted is worth nothing. */
  signIn(req: Request, userId: UserId): Promise<void>
  /** Ends the session, on every node, and takes back its cookie. */
  signOut(req: Request, res: Response): Promise<void>
  /** Ends all sessions of the person, on every node. */
  signOutEverywhere(userId: UserId): Promise<void>
  /** The `state` of a login at a provider that begins now, in this session: 160 random bits in hex. */
  beginOauth(req: Request, provider: Provider): string
  /** Whether such a login began in this session and may go on. Each is good for one time, within 10 minutes. */
  endOauth(req: Request, provider: Provider, state: string): Promise<boolean>
  stop(): void
}

export const openSessions = ({
  pool,
  secret,
  cookie,
}: {
  pool: Pool
  secret: string
  cookie: ReturnType<typeof cookieFlags>
}): Sessions => {
  const Store = connectPgSimple(session)
  // express-session puts `generate` on the store.
  const store: InstanceType<typeof Store> & {generate?(req: Request): void} = new Store({
    pool,
    schemaName: 'state',
    tableName: 'sessions',
    // Rolling without a write a request: the session itself is prolonged once a day, below.
    disableTouch: true,
    // Its own goes by this machine's clock: one that is wrong would end everybody's sessions.
    pruneSessionInterval: false,
    errorLog: () => {},
  })
  const handle = session({
    name: SESSION_COOKIE,
    secret,
    store,
    resave: false,
    saveUninitialized: false,
    rolling: true,
    cookie: {...cookie, maxAge: ANONYMOUS_MS},
  })

  const pruning = setInterval(() => {
    pool.query('DELETE FROM state.sessions WHERE expire < now()').catch(() => {})
  }, PRUNE_MS).unref()

  // A request that was under way while its session ended must not bring it back: only a new session is inserted.
  const unsaved = new WeakSet<object>()
  const generate = store.generate!
  store.generate = (req) => {
    generate(req)
    unsaved.add(req.session)
  }
  // Its own is parsed and planned anew for each request, and goes by this machine's clock.
  store.get = (sid, done) => {
    pool
      .query<{sess: SessionData}>({
        name: 'load session',
        text: 'SELECT sess FROM state.sessions WHERE sid = $1 AND expire >= now()',
        values: [sid],
      })
      .then(({rows}) => done(null, rows[0]?.sess ?? null), done)
  }
  const insert = store.set.bind(store)
  store.set = (sid, sess, done = () => {}) => {
    if (unsaved.delete(sess)) return insert(sid, sess, done)
    pool
      .query('UPDATE state.sessions SET sess = $2, expire = $3 WHERE sid = $1', [sid, sess, sess.cookie.expires])
      .then(() => done(), done)
  }

  return {
    load: (req, res, next) => {
      // BASE_URL says that browsers speak https to us; a proxy that does not say so too must not cost the cookie.
      if (cookie.secure) Object.defineProperty(req, 'secure', {value: true})
      handle(req, res, (error?: unknown) => {
        if (error) return next(error)
        const today = Math.floor(Date.now() / DAY_MS)
        if (req.session.userId && req.session.day !== today) req.session.day = today
        next()
      })
    },

    noteAttempt: (req, userId) => {
      const others = (req.session.attempts ?? []).filter((one) => one !== userId)
      req.session.attempts = [userId, ...others].slice(0, MAX_ATTEMPTS)
    },

    signIn: async (req, userId) => {
      const {attempts} = req.session
      await promised((done) => req.session.regenerate(done))
      if (attempts) req.session.attempts = attempts
      req.session.cookie.maxAge = SIGNED_IN_MS
      req.session.userId = userId
      req.session.signedInAt = Date.now()
      req.session.day = Math.floor(Date.now() / DAY_MS)
      await promised((done) => req.session.save(done))
    },

    signOut: async (req, res) => {
      await promised((done) => req.session.destroy(done))
      res.clearCookie(SESSION_COOKIE, cookie)
    },

    signOutEverywhere: async (userId) => {
      await pool.query(`DELETE FROM state.sessions WHERE sess->>'userId' = $1`, [userId])
    },

    beginOauth: (req, provider) => {
      const state = randomBytes(20).toString('hex')
      req.session.oauth = {provider, state, expiresAt: Date.now() + OAUTH_MS}
      return state
    },

    endOauth: async (req, provider, state) => {
      const {oauth} = req.session
      if (oauth?.provider !== provider || oauth.state !== state || Date.now() >= oauth.expiresAt) return false
      delete req.session.oauth
      // By the row, not by what this request loaded: of two callbacks at once one finds it.
      const {rowCount} = await pool.query(
        `UPDATE state.sessions SET sess = (sess::jsonb - 'oauth')::json WHERE sid = $1 AND sess->'oauth'->>'state' = $2`,
        [req.sessionID, state],
      )
      return rowCount === 1
    },

    stop: () => {
      clearInterval(pruning)
      store.close()
    },
  }
}

const promised = (call: (done: (error?: unknown) => void) => void): Promise<void> =>
  new Promise((resolve, reject) => call((error) => (error ? reject(error as Error) : resolve())))
