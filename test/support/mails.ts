import type {SendLink} from '../../src/commands/registerUser.ts'
import type {EventLog} from '../../src/log/eventLog.ts'

type Enqueued = Parameters<SendLink['enqueue']>[0]

/** What a command gives to the queue of mails, and whether the event that a mail awaits was in the log by then. */
export const takeMails = (log: EventLog) => {
  const taken: (Enqueued & {inLogWhenQueued: boolean; inLogWhenReleased: boolean | null})[] = []
  const isInLog = async ({stream, eventId}: Enqueued['awaits']): Promise<boolean> => {
    for await (const {id} of log.readStream(stream)) if (id === eventId) return true
    return false
  }
  const mail: SendLink = {
    enqueue: async (mail) => {
      taken.push({...mail, inLogWhenQueued: await isInLog(mail.awaits), inLogWhenReleased: null})
    },
    release: async (eventId) => {
      const one = taken.find(({awaits}) => awaits.eventId === eventId)!
      one.inLogWhenReleased = await isInLog(one.awaits)
    },
  }
  return {mail, taken}
}
