import {z} from 'zod'
import {type EventOf, eventType} from './event.ts'
import {UserId} from './user.ts'

/** A person signed in. By `verification` or `reset`: with the link in that mail. */
export const SignedIn = eventType('SignedIn', {
  data: z.object({userId: UserId, by: z.enum(['password', 'verification', 'reset', 'discord', 'reddit'])}),
  plain: ['userId', 'by'],
})

export type SignInMeans = EventOf<typeof SignedIn>['data']['by']
export type AccessEvent = EventOf<typeof SignedIn>
