import {z} from 'zod'
import {eraseUser} from '../commands/eraseUser.ts'
import {isRefusal} from '../domain/event.ts'
import {isSomebody} from '../domain/user.ts'
import {ApiError, refused} from '../edge/errors.ts'
import {clientNetwork} from '../edge/limits.ts'
import type {Parts} from '../edge/parts.ts'
import {Ok, UserShape} from '../edge/shapes.ts'
import {comparePassword} from '../keys/password.ts'
import {tables} from '../projections/tables.ts'
import {users} from '../projections/users.ts'
import {userFold, userStream} from '../streams/streams.ts'
import {exportPerson} from './exportPerson.ts'
import {type Route, route} from './route.ts'

/** A login so young needs no password again. */
const FRESH_LOGIN_MS = 5 * 60_000
/** Each export reads the whole log. */
const EXPORTS_AT_ONCE = 2

const Export = z.object({
  user: UserShape,
  events: z.array(
    z.object({
      id: z.uuid(),
      type: z.string(),
      stream: z.string(),
      revision: z.int(),
      position: z.string(),
      time: z.string(),
      command: z.string(),
      data: z.looseObject({}),
    }),
  ),
})

export const accountRoutes = ({log, codec, erasure, execute, sessions, limits, config}: Parts): Route[] => {
  const exporting = new Set<string>()
  return [
    route({
      operationId: 'exportMe',
      method: 'get',
      path: '/api/me/export',
      summary: 'Everything that the log holds about oneself, streamed',
      description: 'Reads the whole log, so only a few at a time: `BUSY` says when to come back.',
      auth: 'person',
      answer: {types: ['application/json'], of: Export},
      errors: ['BUSY'],
      tables: [users],
      handle: async ({by, res}) => {
        if (exporting.has(by.userId) || exporting.size >= EXPORTS_AT_ONCE) throw new ApiError('BUSY', {}, 10)
        exporting.add(by.userId)
        try {
          res.set({'Content-Type': 'application/json; charset=utf-8', 'Cache-Control': 'no-store'})
          res.set('Content-Disposition', 'attachment; filename="community-export.json"')
          for await (const part of exportPerson({log, codec}, by)) {
            if (res.destroyed) return {}
            if (!res.write(part))
              await new Promise<void>((resolve) => {
                res.once('drain', resolve)
                res.once('close', resolve)
              })
          }
          return {}
        } finally {
          exporting.delete(by.userId)
        }
      },
    }),
    route({
      operationId: 'eraseUser',
      method: 'delete',
      path: '/api/me',
      summary: 'Erases oneself: with the password, or within five minutes of signing in',
      description:
        "The key of the person's data is destroyed: nobody can read it any more, here or in a backup. It can not be undone. What others wrote stays.",
      auth: 'person',
      body: z.object({password: z.string().max(1_000).optional()}),
      answer: Ok,
      errors: ['WRONG_CREDENTIALS', 'RATE_LIMITED'],
      tables,
      handle: async ({by, body: {password}, req, res, requestId}) => {
        if (by.isBot) throw new ApiError('NOT_SIGNED_IN')
        const isFresh = Date.now() - (req.session?.signedInAt ?? 0) < FRESH_LOGIN_MS
        if (password !== undefined || !isFresh) {
          await limits.logins(`ip ${clientNetwork(req.ip ?? '')}`)
          await limits.logins(`account ${by.identity}`)
          const {state: user} = await execute.load(userStream(by.userId), userFold, {fresh: true})
          const hash = isSomebody(user) ? user.passwordHash : null
          if (!(await comparePassword(password ?? '', hash, config.bcryptCost))) {
            throw new ApiError('WRONG_CREDENTIALS')
          }
        }
        const erased = await eraseUser(erasure, by.userId, {actor: by.userId, correlationId: requestId})
        if (isRefusal(erased)) throw refused(erased)
        await sessions.signOut(req, res)
        return {body: {ok: true}, position: erased.position}
      },
    }),
  ]
}
