import {setTimeout as pause} from 'node:timers/promises'
import type {Client, Pool} from 'pg'
import {reconnecting, within} from '../database/reconnect.ts'

/** However a session ends, its row goes, and its transaction tells every node. Wants the sessions table. */
export const SIGNED_OUT_DDL = `
CREATE OR REPLACE FUNCTION state.tell_signed_out() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('signed_out', OLD.sid);
  RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER tell_signed_out AFTER DELETE ON state.sessions
  FOR EACH ROW EXECUTE FUNCTION state.tell_signed_out();
`

const POLL_MS = 1_000
const ANSWER_MS = 3_000

export type SignedOut = {
  /** Calls `over` when the session ends, at once where it has ended already. Gives back what ends the watch. */
  watch(sid: string, over: () => void): () => void
  start(): Promise<void>
  stop(): Promise<void>
}

/** Watches sessions by NOTIFY. What ended while the connection was lost is looked up on the next one. */
export const openSignedOut = ({url, pool}: {url: string; pool: Pool}): SignedOut => {
  const watched = new Map<string, Set<() => void>>()
  const stopped = new AbortController()

  const end = (sid: string) => {
    for (const over of [...(watched.get(sid) ?? [])]) over()
  }

  const lookUp = async (database: Pick<Client, 'query'> | Pool, sids: string[]) => {
    if (sids.length === 0) return
    const {rows} = await database.query<{sid: string}>(
      `SELECT sid FROM unnest($1::text[]) AS watched(sid)
       WHERE NOT EXISTS (SELECT FROM state.sessions s WHERE s.sid = watched.sid AND s.expire >= now())`,
      [sids],
    )
    for (const {sid} of rows) end(sid)
  }

  const listener = reconnecting(url, 'community session listener', async (client) => {
    client.on('notification', ({payload}) => end(payload ?? ''))
    await client.query('LISTEN signed_out')
    await lookUp(client, [...watched.keys()])
  })

  const keepListening = async () => {
    while (!stopped.signal.aborted) {
      await pause(POLL_MS, undefined, {signal: stopped.signal, ref: false}).catch(() => {})
      if (stopped.signal.aborted) return
      try {
        const client = await listener.client()
        await within(ANSWER_MS, client.query('SELECT 1'), () => new Error('the database did not answer in time'))
      } catch {
        listener.drop()
      }
    }
  }

  return {
    watch: (sid, over) => {
      const ofSession = watched.get(sid) ?? new Set()
      watched.set(sid, ofSession.add(over))
      // It may have ended since it was read; where that can't be told now, the next connection tells.
      lookUp(pool, [sid]).catch(() => listener.drop())
      return () => {
        ofSession.delete(over)
        if (ofSession.size === 0 && watched.get(sid) === ofSession) watched.delete(sid)
      }
    },
    start: async () => {
      await listener.client()
      void keepListening()
    },
    stop: async () => {
      stopped.abort()
      await listener.close()
    },
  }
}
