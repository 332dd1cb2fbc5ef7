import type {Parts} from '../edge/parts.ts'
import {accountRoutes} from './accountRoutes.ts'
import {documentationRoutes} from './documentationRoutes.ts'
import {emailRoutes} from './emailRoutes.ts'
import {healthRoutes} from './healthRoutes.ts'
import {meRoutes} from './meRoutes.ts'
import {messageRoutes} from './messageRoutes.ts'
import {metricsRoutes} from './metricsRoutes.ts'
import {oauthRoutes} from './oauthRoutes.ts'
import {postRoutes} from './postRoutes.ts'
import {roomRoutes} from './roomRoutes.ts'
import type {Route} from './route.ts'
import {searchRoutes} from './searchRoutes.ts'
import {uploadRoutes} from './uploadRoutes.ts'

/** Every route there is: what is mounted is what is documented. What is asked for most is found first. */
export const routesOf = (parts: Parts): Route[] => {
  const routes: Route[] = [
    ...meRoutes(parts),
    ...postRoutes(parts),
    ...roomRoutes(parts),
    ...messageRoutes(parts),
    ...searchRoutes(parts),
    ...uploadRoutes(parts),
    ...accountRoutes(parts),
    ...emailRoutes(parts),
    ...oauthRoutes(parts),
    ...healthRoutes(parts),
    ...metricsRoutes(parts),
    ...documentationRoutes(parts, () => routes),
  ]
  return routes
}
