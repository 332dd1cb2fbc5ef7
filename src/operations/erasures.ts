import {randomUUID} from 'node:crypto'
import {setTimeout as pause} from 'node:timers/promises'
import type {Pool} from 'pg'
import type {Logger} from 'pino'
import {type Erasure, eraseUser, finishErasure} from '../commands/eraseUser.ts'
import {listUnfinishedErasures} from '../projections/erasures.ts'
import {listDeadAttempts} from '../projections/users.ts'

const EVERY_MS = 60 * 60_000

/**
 * Finishes what a crash cut off, destroys again the keys that a restored backup brought back, and erases registration
 * attempts that came to nothing. Any node may do it, at any time, and several at once.
 */
export const finishErasures = async (pool: Pool, erasure: Erasure): Promise<void> => {
  const context = {name: 'finishErasure', actor: null, correlationId: randomUUID()}
  for (const userId of await listUnfinishedErasures(pool)) await finishErasure(erasure, userId, context)
  for (const userId of await listDeadAttempts(pool)) await eraseUser(erasure, userId, context)
}

/** Does so once when the read tables can be read, and each hour from then on. */
export const keepErasing = ({
  pool,
  erasure,
  isReady,
  logger,
}: {
  pool: Pool
  erasure: Erasure
  isReady: () => boolean
  logger: Logger
}): {stop(): Promise<void>} => {
  const stopped = new AbortController()
  const run = async () => {
    while (!stopped.signal.aborted) {
      const ready = isReady()
      try {
        if (ready) await finishErasures(pool, erasure)
      } catch (error) {
        logger.warn({error: String(error)}, 'an erasure could not be finished: it is tried again')
      }
      await pause(ready ? EVERY_MS : 1_000, undefined, {signal: stopped.signal, ref: false}).catch(() => {})
    }
  }
  const running = run()
  return {
    stop: async () => {
      stopped.abort()
      await running
    },
  }
}
