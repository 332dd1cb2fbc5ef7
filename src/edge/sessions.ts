import connectPgSimple from 'connect-pg-simple'
import type {Request, RequestHandler} from 'express'
import session from 'express-session'
import type {Pool} from 'pg'
import type {UserId} from '../domain/user.ts'

declare module 'express-session' {
  interface SessionData {
    userId: UserId
    /** When the person proved who they are, in milliseconds since 1970. */
    signedInAt: number
    /** The registration that this browser made or tried to log in to: what a resend is about. */
    attempt: UserId
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

const DAYS = 30
const DAY_MS = 86_400_000
export const SESSION_COOKIE = 'sid'

export type Sessions = {
  /** Loads the request's session; one that is written to is saved when the answer begins. */
  load: RequestHandler
  /** Signs in under a new session id, so that an id somebody planted is worth nothing. */
  signIn(req: Request, userId: UserId): Promise<void>
  signOut(req: Request): Promise<void>
  stop(): void
}

export const openSessions = ({pool, secret, secure}: {pool: Pool; secret: string; secure: boolean}): Sessions => {
  const Store = connectPgSimple(session)
  const store = new Store({
    pool,
    schemaName: 'state',
    tableName: 'sessions',
    // Rolling without a write a request: the session itself is prolonged once a day, below.
    disableTouch: true,
    pruneSessionInterval: 15 * 60,
    errorLog: () => {},
  })
  const handle = session({
    name: SESSION_COOKIE,
    secret,
    store,
    resave: false,
    saveUninitialized: false,
    rolling: true,
    proxy: secure,
    cookie: {httpOnly: true, sameSite: 'lax', secure, maxAge: DAYS * DAY_MS, path: '/'},
  })
  return {
    load: (req, res, next) => {
      handle(req, res, (error?: unknown) => {
        if (error) return next(error)
        const today = Math.floor(Date.now() / DAY_MS)
        if (req.session.userId && req.session.day !== today) req.session.day = today
        next()
      })
    },
    signIn: async (req, userId) => {
      await new Promise<void>((resolve, reject) =>
        req.session.regenerate((error) => (error ? reject(error) : resolve())),
      )
      req.session.userId = userId
      req.session.signedInAt = Date.now()
      req.session.day = Math.floor(Date.now() / DAY_MS)
      await new Promise<void>((resolve, reject) => req.session.save((error) => (error ? reject(error) : resolve())))
    },
    signOut: (req) =>
      new Promise<void>((resolve, reject) => req.session.destroy((error) => (error ? reject(error) : resolve()))),
    stop: () => store.close(),
  }
}
