import type {Parts} from '../edge/parts.ts'
import {accountRoutes} from './accountRoutes.ts'
import {emailRoutes} from './emailRoutes.ts'
import {healthRoutes} from './healthRoutes.ts'
import {meRoutes} from './meRoutes.ts'
import {messageRoutes} from './messageRoutes.ts'
import {oauthRoutes} from './oauthRoutes.ts'
import {postRoutes} from './postRoutes.ts'
import {roomRoutes} from './roomRoutes.ts'
import type {Route} from './route.ts'
import {uploadRoutes} from './uploadRoutes.ts'

/** Every route there is: what is mounted is what is documented. */
export const routesOf = (parts: Parts): Route[] => [
  ...healthRoutes(parts),
  ...meRoutes(parts),
  ...accountRoutes(parts),
  ...emailRoutes(parts),
  ...oauthRoutes(parts),
  ...postRoutes(parts),
  ...uploadRoutes(parts),
  ...roomRoutes(parts),
  ...messageRoutes(parts),
]
