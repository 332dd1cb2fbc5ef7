import {z} from 'zod'
import type {Parts} from '../edge/parts.ts'
import {Ok} from '../edge/shapes.ts'
import {tables} from '../projections/tables.ts'
import {type Route, route} from './route.ts'
import {STATUS} from './statuses.ts'

const CHECK_MS = 2_000

const Readiness = z.object({
  ok: z.boolean(),
  log: z.object({ok: z.boolean(), position: z.string().nullable(), error: z.string().optional()}),
  database: z.object({ok: z.boolean(), error: z.string().optional()}),
  projections: z.record(
    z.string(),
    z.object({
      ok: z.boolean(),
      state: z.enum(['live', 'building']),
      position: z.string().nullable(),
      error: z.string().optional(),
    }),
  ),
})

export const healthRoutes = ({log, pool, applied, tail}: Parts): Route[] => [
  route({
    operationId: 'isAlive',
    method: 'get',
    path: '/healthz',
    summary: 'The process lives',
    description: 'Says nothing of log and database: see `/readyz`.',
    auth: 'none',
    answer: Ok,
    handle: async () => ({body: {ok: true}}),
  }),
  route({
    operationId: 'isReady',
    method: 'get',
    path: '/readyz',
    summary: 'Log, database and read tables can be used; else what can not, and why',
    auth: 'none',
    answer: Readiness,
    also: {503: Readiness},
    handle: async ({res}) => {
      const [head, database] = await Promise.all([
        check(async () => (await log.head())?.toString() ?? null),
        check(async () => {
          await pool.query('SELECT 1')
          return null
        }),
      ])
      const states = applied.states()
      const projections = Object.fromEntries(
        tables.map(({name, view}) => {
          const state = states.get(view)
          const fault = state?.fault ?? null
          const live = state?.live ?? false
          return [
            name,
            {
              ok: live && fault === null,
              state: live ? ('live' as const) : ('building' as const),
              position: state?.position?.toString() ?? null,
              ...why({error: fault ?? state?.because ?? undefined}),
            },
          ]
        }),
      )
      const ok = head.ok && database.ok && Object.values(projections).every((one) => one.ok)
      if (!ok) res.status(STATUS.UNAVAILABLE).set('Retry-After', '1')
      return {
        body: {
          ok,
          log: {ok: head.ok, position: head.value ?? tail.position()?.toString() ?? null, ...why(head)},
          database: {ok: database.ok, ...why(database)},
          projections,
        },
      }
    },
  }),
]

type Checked = {ok: boolean; value: string | null; error?: string}

const check = async (look: () => Promise<string | null>): Promise<Checked> => {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('no answer in time')), CHECK_MS)
  })
  try {
    return {ok: true, value: await Promise.race([look(), late])}
  } catch {
    return {ok: false, value: null, error: 'It does not answer.'}
  } finally {
    clearTimeout(timer)
  }
}

const why = ({error}: {error?: string | undefined}) => (error === undefined ? {} : {error})
