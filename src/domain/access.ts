import {z} from 'zod'
import {type EventOf, eventType} from './event.ts'
import {UserId} from './user.ts'

/** A person signed in. By `verification`: with the link in the mail. */
export const SignedIn = eventType('SignedIn', {
  data: z.object({userId: UserId, by: z.enum(['password', 'verification'])}),
  plain: ['userId', 'by'],
})

export type AccessEvent = EventOf<typeof SignedIn>
