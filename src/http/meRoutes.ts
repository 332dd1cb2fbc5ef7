import {z} from 'zod'
import type {Parts} from '../edge/parts.ts'
import {UserShape} from '../edge/shapes.ts'
import {users} from '../projections/users.ts'
import {type Route, route} from './route.ts'

export const meRoutes = ({sessions}: Parts): Route[] => [
  route({
    operationId: 'readMe',
    method: 'get',
    path: '/api/me',
    summary: 'Who is signed in',
    description: 'Also how a client finds out whether it is signed in: 401 `NOT_SIGNED_IN` where it is not.',
    auth: 'person',
    answer: z.object({ok: z.literal(true), user: UserShape}),
    tables: [users],
    handle: async ({by: {userId, username, provider, email}}) => ({
      body: {ok: true, user: {id: userId, username, provider, email}},
    }),
  }),
  route({
    operationId: 'logOut',
    method: 'get',
    path: '/api/logout',
    summary: 'Ends the session',
    description: 'Ends it on every node, closes the sockets that it let in, and leads to `/`. HEAD does nothing.',
    auth: 'session',
    answer: 'redirect',
    unsafe: true,
    handle: async ({req, res}) => {
      await sessions.signOut(req, res)
      return {redirect: '/'}
    },
  }),
]
